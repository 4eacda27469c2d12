"""What the daemon does when, and what becomes of trouble."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from hitl_bridge.core.lasting import figures_aside
from hitl_bridge.core.model import ProjectId
from hitl_bridge.daemon.pauses import Pauses
from hitl_bridge.errors import (
    AccessRefused,
    BridgeError,
    LabelingUnavailable,
    LeaseLost,
    OutsideUnavailable,
    RefusedForSafety,
    StoreUnavailable,
)
from hitl_bridge.ports import Lease
from hitl_bridge.services.keeping.health import LABELING, STORE

if TYPE_CHECKING:
    from hitl_bridge.bootstrap import Bridge
    from hitl_bridge.daemon import Shared
    from hitl_bridge.services.sync.pull import PullResult
    from hitl_bridge.services.sync.push import PushResult
    from hitl_bridge.services.sync.resolve import ResolveResult
    from hitl_bridge.services.sync.troubles import Trouble

TICK = 5.0
"""Seconds after which a waiting loop shows that it lives."""

GATHER = 0.3
"""Seconds after serving a nudge in which others gather, so that a storm of them costs little."""

LOOK_AGAIN = (0.4, 1.5)
"""An answer may show in Label Studio's list of changes a moment after it called: seconds after which a nudge that brought
nothing is looked into once more, and then a last time."""

WEBHOOKS_EVERY = 300.0

_A_PERSON = RefusedForSafety.exit_code

Result = TypeVar("Result")


class Told(Exception):
    """The loop is to end, in the middle of a cycle: no error."""


class Loop:
    """Cycles and nudges, in one thread, while the daemon's lease is held."""

    def __init__(
        self,
        bridge: Bridge,
        lease: Lease,
        shared: Shared,
        pauses: Pauses,
        look_after: Callable[[], None],
        alive: Callable[[], None],
    ) -> None:
        self._bridge = bridge
        self._lease = lease
        self._shared = shared
        self._pauses = pauses
        self._look_after = look_after
        self._alive = alive
        self._due = self._tried_at = self._webhooks_due = 0.0
        self._again: dict[ProjectId, float] = {}
        self._in_vain: dict[ProjectId, int] = {}
        self._requests_of: tuple[int, int] = (0, 0)
        self._told: set[tuple[str, str]] = set()
        self._once: set[tuple[str, str]] = set()
        self._webhooks_of: frozenset[ProjectId] = frozenset()

    def run(self) -> None:
        """Until told to stop. Raises LeaseLost, and whatever nobody has foreseen."""
        while not self._shared.stop.is_set():
            self._show_life()
            self._look_after()
            now = time.monotonic()
            if now >= self._due:
                self._try("cycle", self._cycle)
            elif nudged := self._nudged(now):
                self._heed(nudged)
            else:
                self._shared.nudges.wait(min([self._due - now, TICK, *(at - now for at in self._again.values())]))

    # --------------------------------------------------------------------------------------------- what is done

    def _cycle(self) -> None:
        pushed = self._turn(self._push)
        pulled = self._turn(lambda: self._bridge.pull(between=self._serve_callers))
        resolved = self._turn(self._bridge.resolve)
        self._turn(self._escalate)
        further = self._turn(self._push)
        self._turn(self._keep_lots)
        self._turn(self._keep_thresholds)
        something = pushed.created or pulled.revisions or pulled.tombstones or resolved.decisions or further.created
        self._bridge.record_cycle(did_something=bool(something))
        troubles = (*pushed.troubles, *pulled.troubles, *further.troubles)
        self._tell_troubles(troubles)
        self._turn(lambda: self._send_notices(troubles))
        self._tell_cycle(pushed, pulled, resolved, further)
        self._turn(self._keep_webhooks)

    def _escalate(self) -> None:
        late = self._bridge.escalate()
        if late.something:
            self._shared.log.warning("daemon.escalated", **asdict(late))

    def _send_notices(self, troubles: Sequence[Trouble]) -> None:
        sent = self._bridge.send_notices(troubles)
        if sent.sent:
            self._shared.log.info("daemon.notices", sent=sent.sent, told=sent.told, waiting=sent.waiting)
        for why in sent.troubles:
            self._shared.log.warning("daemon.notices_not_sent", reason=why, waiting=sent.waiting)

    def _keep_lots(self) -> None:
        kept = self._bridge.keep_lots()
        for change in kept.changed:
            self._shared.log.info("daemon.lot", lot_id=change.lot_id, verdict=str(change.verdict))
        for version in kept.alarms:
            self._shared.log.warning("daemon.drift", model_version=version)
        for why in kept.troubles:
            self._shared.log.warning("daemon.recall_not_told", reason=why)

    def _keep_thresholds(self) -> None:
        kept = self._bridge.keep_thresholds()
        for model in kept.models if kept is not None else ():
            if model.did != "nothing":
                self._shared.log.info("daemon.thresholds", model_version=model.model_version, did=model.did)

    def _push(self) -> PushResult:
        return self._bridge.push(progress=lambda done, total: self._show_life())

    def _turn(self, step: Callable[[], Result]) -> Result:
        """One step of a cycle. Before it: has somebody told us to stop, or taken over, or is somebody waiting for an answer?"""
        if self._shared.stop.is_set():
            raise Told
        self._bridge.check_lease(self._lease)
        self._serve_callers()
        return step()

    def _serve_callers(self) -> None:
        """An answer need not wait for the end of a cycle over many projects."""
        self._show_life()
        nudged = self._take()
        if nudged:
            self._serve(nudged)

    def _take(self) -> frozenset[ProjectId]:
        """Projects that called since the last time: what was looked for in them before is of no concern any more."""
        nudged = self._shared.nudges.take()
        for project in nudged:
            self._in_vain.pop(project, None)
        return nudged

    def _nudged(self, now: float) -> frozenset[ProjectId]:
        due = {project for project, at in self._again.items() if at <= now}
        for project in due:
            del self._again[project]
        return self._take() | due

    def _heed(self, nudged: frozenset[ProjectId]) -> None:
        if self._pauses.tries:  # who calls us is there again: no need to wait any longer than usual
            self._due = min(self._due, self._tried_at + self._pauses.usual)
            self._shared.stop.wait(GATHER)
            return
        self._try("nudge", lambda: self._served(nudged))
        self._shared.stop.wait(GATHER)

    def _served(self, nudged: frozenset[ProjectId]) -> None:
        self._bridge.check_lease(self._lease)
        self._serve(nudged)

    def _serve(self, nudged: frozenset[ProjectId]) -> None:
        """What is new in these projects becomes decisions and next rounds at once."""
        pulled = self._bridge.pull(only=nudged)
        resolved = self._bridge.resolve()
        created = self._push().created if resolved.disputed or resolved.escalated or resolved.asked_again else 0
        self._look_again(nudged, found=bool(pulled.revisions or pulled.tombstones))
        said = {"revisions": pulled.revisions, "decisions": resolved.decisions, "pushed": created}
        self._shared.log.info("daemon.nudge", projects=sorted(nudged), **said)

    def _look_again(self, served: frozenset[ProjectId], *, found: bool) -> None:
        for project in served:
            self._again.pop(project, None)
            looks = self._in_vain.pop(project, 0)
            if not found and looks < len(LOOK_AGAIN):
                self._again[project], self._in_vain[project] = time.monotonic() + LOOK_AGAIN[looks], looks + 1

    def _keep_webhooks(self) -> None:
        """From time to time, and when there are new projects."""
        if self._bridge.settings.daemon.webhook_url is None:
            return
        projects = frozenset(project.project_id for project in self._bridge.store.projects())
        if time.monotonic() < self._webhooks_due and projects <= self._webhooks_of:
            return
        self._webhooks_due, self._webhooks_of = time.monotonic() + WEBHOOKS_EVERY, projects
        try:
            kept = self._bridge.keep_webhooks()
        except LeaseLost:
            raise
        except (OutsideUnavailable, RefusedForSafety) as error:  # the cycle went well all the same: nothing depends on them
            self._shared.log.warning("daemon.webhooks_not_kept", reason=error.message)
            return
        if kept.made or kept.mended or kept.removed:
            self._shared.log.info("daemon.webhooks", made=kept.made, mended=kept.mended, removed=kept.removed)
        self._shared.vitals.webhooks_refused = kept.refused is not None
        if kept.refused is not None:
            self._tell_once("daemon.webhooks_refused", kept.refused)

    # ---------------------------------------------------------------------------------------- what becomes of trouble

    def _try(self, what: str, step: Callable[[], None]) -> None:
        began = self._tried_at = time.monotonic()
        result = "good"
        try:
            step()
        except Told:
            return
        except LeaseLost:
            raise
        except AccessRefused as refused:
            result = self._refused(refused)
        except OutsideUnavailable as away:
            result = self._away(away)
        except RefusedForSafety as refused:
            result = self._stopped(refused)
        else:
            self._went_well(what, began)
        self._count_requests()
        self._shared.vitals.count(what, result, time.monotonic() - began)

    def _went_well(self, what: str, began: float) -> None:
        vitals, now = self._shared.vitals, time.monotonic()
        if what != "cycle":
            return
        self._due = now + self._pauses.usual
        tries = self._pauses.over()
        if tries:
            self._shared.log.info("daemon.outside_back", after_tries=tries)
        vitals.access_refused = False
        vitals.last_good_cycle, vitals.last_cycle_seconds = self._bridge.clock.now(), now - began
        vitals.note(STORE, up=True)
        vitals.note(LABELING, up=True)

    def _away(self, away: OutsideUnavailable) -> str:
        name = STORE if isinstance(away, StoreUnavailable) else LABELING if isinstance(away, LabelingUnavailable) else "lease"
        if name != "lease":  # which a command that is run by hand may hold for a while
            self._shared.vitals.note(name, up=False, reason=away.message)
        pause = self._later()
        self._shared.log.warning("daemon.outside_away", system=name, reason=away.message, tries=self._pauses.tries, next_in=pause)
        return "away"

    def _refused(self, refused: AccessRefused) -> str:
        """No access is never "nothing new". Somebody may mend the token file: it is read again before the next try."""
        self._shared.vitals.access_refused = True
        self._shared.vitals.note(LABELING, up=False, reason=refused.message)
        pause, renewed = self._later(), self._renew_token()
        self._due = time.monotonic() if renewed and self._pauses.tries == 1 else self._due
        said = {"reason": refused.message, "remedy": refused.remedy, "tries": self._pauses.tries, "next_in": pause}
        self._shared.log.error("daemon.access_refused", token_renewed=renewed, **said)
        return "access_refused"

    def _stopped(self, refused: RefusedForSafety) -> str:
        pause = self._later()
        self._shared.log.error("daemon.refused", reason=refused.message, remedy=refused.remedy, next_in=pause)
        return "refused"

    def _renew_token(self) -> bool:
        try:
            return self._bridge.renew_token()
        except BridgeError as error:  # others can read its file, say
            self._shared.log.error("daemon.token_unusable", reason=error.message, remedy=error.remedy)
            return False

    def _later(self) -> float:
        pause = self._pauses.longer()
        self._due = time.monotonic() + pause
        return pause

    # -------------------------------------------------------------------------------------------- what is told

    def _tell_cycle(self, pushed: PushResult, pulled: PullResult, resolved: ResolveResult, further: PushResult) -> None:
        self._shared.log.info(
            "daemon.cycle",
            pushed=pushed.created + further.created,
            rejected=pushed.rejected + further.rejected,
            revisions=pulled.revisions,
            quarantined=pulled.quarantined,
            lost=pulled.lost,
            decisions=resolved.decisions,
            asked_again=resolved.asked_again,
            seconds=round(time.monotonic() - self._tried_at, 3),
        )

    def _tell_troubles(self, troubles: Collection[Trouble]) -> None:
        """Each once, when it begins, and that it is over."""
        now = {(each.project, figures_aside(each.reason)): each for each in troubles}
        stopped = {each.project for each in now.values() if each.exit_code == _A_PERSON}
        for trouble, each in now.items():
            if trouble not in self._told:
                tell = self._shared.log.error if each.exit_code == _A_PERSON else self._shared.log.warning
                tell("daemon.trouble", project=each.project, reason=each.reason, remedy=each.remedy)
        for project, reason in self._told - set(now):
            self._shared.log.info("daemon.trouble_over", project=project, reason=reason)
        self._told = set(now)
        self._shared.vitals.projects_stopped = len(stopped)
        if stopped:
            self._renew_token()

    def _tell_once(self, action: str, error: BridgeError) -> None:
        if (action, error.message) not in self._once:
            self._once.add((action, error.message))
            self._shared.log.warning(action, reason=error.message, remedy=error.remedy)

    def _count_requests(self) -> None:
        """Of one client after the other: a renewed token comes with a new client, which counts from nothing."""
        service, counted = self._requests_of
        there, made = self._bridge.labeling_requests()
        self._shared.vitals.requests += made - (counted if there == service else 0)
        self._requests_of = (there, made)

    def _show_life(self) -> None:
        self._shared.vitals.sign_of_life()
        self._alive()
