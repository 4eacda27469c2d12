"""One pass of push → pull → resolve → push → commit: what the daemon repeats."""

from __future__ import annotations

from dataclasses import dataclass, field

from hitl_bridge.services.audits.lots import LotsResult
from hitl_bridge.services.dataset.commit import CommitResult
from hitl_bridge.services.desk.notices import NoticesResult
from hitl_bridge.services.sync.pull import PullResult
from hitl_bridge.services.sync.push import PushResult
from hitl_bridge.services.sync.resolve import ResolveResult
from hitl_bridge.services.sync.troubles import Trouble


@dataclass(frozen=True, slots=True)
class CycleResult:
    """What each step of a cycle did. The second push carries the next rounds that resolving opened; `lots` are judged by what
    was resolved, and `notices` are what people were told."""

    push: PushResult
    pull: PullResult
    resolve: ResolveResult
    next_rounds: PushResult
    commit: CommitResult
    lots: LotsResult = field(default_factory=LotsResult)
    notices: NoticesResult = field(default_factory=NoticesResult)

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """Of all steps, each once."""
        return tuple(dict.fromkeys((*self.push.troubles, *self.pull.troubles, *self.next_rounds.troubles)))

    @property
    def did_something(self) -> bool:
        return bool(
            self.push.created
            or self.pull.revisions
            or self.pull.tombstones
            or self.resolve.decisions
            or self.next_rounds.created
            or self.commit.version
            or self.lots.changed
            or self.lots.alarms
        )
