"""Queued items that wait for room in the review budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from hitl_bridge.core.model import JSON, Item, ItemId
from hitl_bridge.core.triage.selection import Arm

Identity: TypeAlias = "tuple[ItemId, int]"
"""An item and its revision."""


@dataclass(frozen=True, slots=True)
class WaitingItem:
    """As much of an item that waits as is needed to choose among many; `doubt` is that of `core.triage.selection`."""

    item_id: ItemId
    revision: int
    model_version: str
    doubt: float
    since: datetime

    @property
    def identity(self) -> Identity:
        return self.item_id, self.revision


@dataclass(frozen=True, slots=True)
class Spent:
    """What of the budget is gone: items that came by their risk whose task was `sent`, and those `promised`, which were picked
    or have a task on its way, and are still queued."""

    sent: int
    promised: frozenset[Identity]


@dataclass(frozen=True, slots=True)
class Pick:
    """An item that waits no more, or was picked before it ever did; its route is the one that it gets now. `probability` is
    that with which each waiting item could be drawn by chance in this selection."""

    item: Item
    arm: Arm
    probability: float


@dataclass(frozen=True, slots=True)
class RecordedSelection:
    """What one push decided about a queue that is longer than the budget: who is picked, who begins to wait, and the figures
    behind it, for the audit log."""

    picks: Sequence[Pick] = ()
    left: Sequence[Item] = ()
    detail: Mapping[str, JSON] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.picks or self.left)


class Waits(Protocol):
    """Who waits, since when, and what became of it."""

    def queued(self) -> list[Item]:
        """Queued items (latest revision only) that do not wait, lowest priority number first."""

    def waiting(self) -> list[WaitingItem]:
        """Queued items that wait, in the order of their ids."""

    def items_of(self, identities: Sequence[Identity]) -> list[Item]:
        """These revisions, in no particular order; one that is not there is left out."""

    def waiting_count(self) -> int: ...
    def spent(self, since: datetime) -> Spent:
        """Counts the tasks that were sent at or after `since`."""

    def record_selection(self, selection: RecordedSelection, at: datetime) -> None:
        """All or nothing, with an event. Picked items get their route's deadline and priority."""
