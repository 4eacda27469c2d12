"""Dataset commits, in a thread and with a bridge of their own: an answer need not wait for DVC to become a decision."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hitl_bridge.daemon.pauses import Pauses
from hitl_bridge.errors import LeaseLost, OutsideUnavailable, RefusedForSafety, StoreUnavailable
from hitl_bridge.services.keeping.health import DATASET, STORE

if TYPE_CHECKING:
    from hitl_bridge.bootstrap import Bridge
    from hitl_bridge.daemon import Shared


class Committer:
    """Commits what was decided, again and again, from `with` to its end; the commit in hand is finished first."""

    def __init__(self, bridge: Bridge, shared: Shared, pauses: Pauses) -> None:
        self._bridge = bridge
        self._shared = shared
        self._pauses = pauses
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="committer")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def raise_if_failed(self) -> None:
        """In the loop's thread: what nobody has foreseen ends the daemon, wherever it happened."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            with self._bridge.twin() as bridge:
                pause = 0.0
                while not self._stop.wait(pause):
                    pause = self._commit(bridge)
        except BaseException as error:  # noqa: BLE001 (raised again by the loop)
            self._failure = error
            self._shared.nudges.wake()

    def _commit(self, bridge: Bridge) -> float:
        """Returns how many seconds to wait for the next one."""
        began, vitals, log = time.monotonic(), self._shared.vitals, self._shared.log
        try:
            result = bridge.commit()
        except LeaseLost as lost:
            log.warning("daemon.commit_lease_lost", reason=lost.message)
            return self._failed("lease_lost", began)
        except OutsideUnavailable as away:
            name = STORE if isinstance(away, StoreUnavailable) else DATASET
            vitals.note(name, up=False, reason=away.message)
            log.warning("daemon.commit_away", system=name, reason=away.message, tries=self._pauses.tries + 1)
            return self._failed("away", began)
        except RefusedForSafety as refused:
            vitals.commit_refused = True
            log.error("daemon.commit_refused", reason=refused.message, remedy=refused.remedy, tries=self._pauses.tries + 1)
            return self._failed("refused", began)
        self._pauses.over()
        vitals.commit_refused = False
        vitals.note(DATASET, up=True)
        vitals.count("commit", "good", time.monotonic() - began)
        if result.version is not None:
            log.info("daemon.commit", version=result.version, added=result.added, changed=result.changed, removed=result.removed)
        return self._pauses.usual

    def _failed(self, how: str, began: float) -> float:
        self._shared.vitals.count("commit", how, time.monotonic() - began)
        return self._pauses.longer()
