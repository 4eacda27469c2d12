"""Taking decisions back: what holds then, and which answers count no more.

A revert undoes decisions from the newest backwards, as long as they are chosen; what held before the last of them holds
again, and where nothing did, the item has no decision. The answers behind what was undone count no more, unless what holds
again rests on them, too: so the item, settled again for whatever reason, is not settled to the same once more. What is
answered or edited after the revert counts as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import takewhile

from hitl_bridge.core.model import Decision, Op


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision, the dataset version that holds it (None: in no version yet), and whether a revert wrote it."""

    decision: Decision
    version: str | None = None
    by_revert: bool = False


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What a revert does to an item: it writes `decision` (a removal, or what held before once more) in place of `undone`,
    newest first. `answers` are the keys of annotations that count no more, `restored` those that do again."""

    decision: Decision
    undone: tuple[Decision, ...]
    answers: frozenset[str]
    restored: frozenset[str]

    @property
    def reinstates(self) -> bool:
        return self.decision.op is not Op.REMOVE


def take_back(history: Sequence[Recorded], chosen: Callable[[Recorded], bool], now: datetime) -> TakenBack | None:
    """What undoing the `chosen` decisions does to an item; None where the one that holds is not among them, or nothing holds.

    Args:
        history: every decision on one revision of the item, in any order; at least one.
    """
    newest_first = sorted(history, key=lambda each: each.decision.seq, reverse=True)
    standing, undone = newest_first[0], list(takewhile(chosen, newest_first))
    before = newest_first[len(undone)].decision if len(undone) < len(newest_first) else None
    was_there = standing.decision.op is not Op.REMOVE
    if not undone or not (was_there or standing.by_revert):
        return None
    if before is None or before.op is Op.REMOVE:
        return _undone(_removal(standing.decision, now), undone) if was_there else None
    return _undone(_reinstated(before, standing.decision, now), undone)


def _removal(standing: Decision, now: datetime) -> Decision:
    return replace(standing, seq=standing.seq + 1, op=Op.REMOVE, output=None, rationale="", decided_at=now)


def _reinstated(before: Decision, standing: Decision, now: datetime) -> Decision:
    op = Op.ADD if standing.op is Op.REMOVE else Op.CHANGE
    return replace(before, seq=standing.seq + 1, op=op, decided_at=now)


def _undone(decision: Decision, undone: Sequence[Recorded]) -> TakenBack:
    holds = frozenset(decision.annotations) if decision.op is not Op.REMOVE else frozenset[str]()
    behind = frozenset(key for each in undone for key in each.decision.annotations)
    return TakenBack(decision, tuple(each.decision for each in undone), behind - holds, holds)
