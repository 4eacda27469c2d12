"""The daemon: one cycle after another, commits apart, until told to stop.

loop       what is done when, and what becomes of trouble      beside      what is done beside it, in threads of their own:
log        one JSON object a line                              committer   dataset commits
                                                               trainer     training again when enough is new
ending     SIGTERM within ten seconds; a loop that is stuck
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from hitl_bridge.adapters.service_manager import ServiceManager
from hitl_bridge.core import draws
from hitl_bridge.daemon.committer import Committer
from hitl_bridge.daemon.ending import GRACE, ended_if_stuck, ending_in_time
from hitl_bridge.daemon.log import Log, heed_libraries, logger
from hitl_bridge.daemon.loop import Loop
from hitl_bridge.daemon.pauses import Pauses
from hitl_bridge.daemon.trainer import Trainer
from hitl_bridge.errors import LeaseLost, OutsideUnavailable
from hitl_bridge.services.keeping.health import Vitals
from hitl_bridge.services.sync.webhooks import Nudges
from hitl_bridge.settings import notify_socket

if TYPE_CHECKING:
    from hitl_bridge.bootstrap import Bridge

__all__ = ["Shared", "heed_libraries", "logger", "run"]


@dataclass(frozen=True, slots=True)
class Shared:
    """What the daemon's threads and its routes have in common."""

    vitals: Vitals
    nudges: Nudges = field(default_factory=Nudges)
    stop: threading.Event = field(default_factory=threading.Event)
    log: Log = field(default_factory=logger)


def run(
    bridge: Bridge, *, every: float, commit_every: float | None = None, shared: Shared | None = None, grace: float = GRACE
) -> None:
    """Runs cycles `every` seconds until SIGTERM, SIGINT or `shared.stop`. The step in hand is finished first, if it takes no
    longer than `grace` seconds; child processes are ended, and the process with them, if it does.

    Only one daemon works on a store; this one stands by while another one does. Outside systems that are away, a token that
    is refused, a repository in which nothing can be committed: all that is told, and tried again after a pause. What nobody
    has foreseen ends the process with its traceback, so that whoever started it starts it anew.
    """
    shared = shared or Shared(Vitals(bridge.clock))
    manager = ServiceManager(notify_socket())
    shared.log.info("daemon.started", every=every, commit_every=commit_every or every)
    with ending_in_time(shared.stop, shared.nudges.wake, shared.log, grace=grace), ended_if_stuck(shared.vitals, shared.log):
        manager.ready()
        daemon = _Daemon(bridge, shared, manager, every, commit_every or every)
        daemon.stay()
        manager.stopping()
    shared.log.info("daemon.stopped")


@dataclass(slots=True)
class _Daemon:
    bridge: Bridge
    shared: Shared
    manager: ServiceManager
    every: float
    commit_every: float
    waits: int = 0

    def stay(self) -> None:
        """Leads, or stands by to lead, until told to stop."""
        pauses = Pauses(self.every, self._chance)
        while not self.shared.stop.is_set():
            try:
                self._lead()
            except LeaseLost as lost:
                self.shared.log.warning("daemon.lease_lost", reason=lost.message)
            except OutsideUnavailable as away:
                pause = pauses.longer()
                self.shared.log.warning("daemon.outside_away", reason=away.message, tries=pauses.tries, next_in=pause)
                self.shared.stop.wait(pause)
            else:
                pauses.over()

    def _lead(self) -> None:
        self.waits = 0
        with self.bridge.stand_by(self._told_to_stop) as lease:
            if lease is None:
                return
            self.shared.vitals.lease_held = True
            if self.waits > 1:
                self.shared.log.info("daemon.took_over")
            pauses, apart = Pauses(self.every, self._chance), Pauses(self.commit_every, self._chance)
            try:
                with Committer(self.bridge, self.shared, apart) as committer, Trainer(self.bridge, self.shared) as trainer:
                    look_after = partial(_each, committer.raise_if_failed, trainer.raise_if_failed)
                    Loop(self.bridge, lease, self.shared, pauses, look_after, self.manager.alive).run()
            finally:
                self.shared.vitals.lease_held = False

    def _told_to_stop(self) -> bool:
        """Asked again and again while standing by."""
        self.waits += 1
        if self.waits == 2:
            self.shared.log.info("daemon.standby")
        self.shared.vitals.sign_of_life()
        self.manager.alive()
        return self.shared.stop.is_set()

    def _chance(self, tries: int) -> float:
        """Differs by process, so that many who lost the same system don't all come back at the same moment."""
        return draws.draw(self.bridge.settings.workspace_key, "pause", self.bridge.process, str(tries))


def _each(*checks: Callable[[], None]) -> None:
    for check in checks:
        check()
