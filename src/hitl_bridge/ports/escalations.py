"""Which steps were taken for items that are late."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from hitl_bridge.core.model import Item, ItemId, Purpose
from hitl_bridge.core.review.escalation import Escalation

Deadline: TypeAlias = "tuple[ItemId, int, datetime]"
"""An item, its revision, and when it is due: later rounds with the same deadline are the same lateness."""


@dataclass(frozen=True, slots=True)
class OpenDeadline:
    """`items` of one pool, tier and purpose that are due at the same moment and not finished."""

    pool: str
    tier: str
    purpose: Purpose
    due_at: datetime
    items: int


class EscalationStore(Protocol):
    """The memory of what was escalated; a step is taken once a deadline, whoever asks and however often."""

    def due_by(self, moment: datetime, steps: Mapping[str, Collection[str]] | None = None) -> list[Item]:
        """Items that people were asked about and that are due by then, the longest overdue first; only those for which not all
        `steps` of their tier were taken (in a tier that is not named: none was). None: all of them."""

    def taken(self, items: Sequence[Item]) -> Mapping[Deadline, frozenset[str]]: ...
    def record(self, escalations: Sequence[Escalation], at: datetime) -> list[Escalation]:
        """Writes steps down, opens next rounds and puts notices into the outbox, with an event each, in one transaction. Those
        taken before are left alone, and so is an item that has moved on; returns those that were not."""

    def open_deadlines(self) -> list[OpenDeadline]:
        """Of all that is not finished, by when it is due; what waits for room in the review budget has no deadline that runs."""
