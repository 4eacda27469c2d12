"""Which steps were taken for items that are late."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeAlias

from hitl_bridge.core.model import Item, ItemId
from hitl_bridge.core.review.escalation import Escalation, Step

Round: TypeAlias = "tuple[ItemId, int, int]"
"""An item, its revision, and the round."""


class EscalationStore(Protocol):
    """The memory of what was escalated; a step is taken once in a round, whoever asks and however often."""

    def due_by(self, moment: datetime, more_steps: Collection[str]) -> list[Item]:
        """Items that people were asked about and that are due by then, the longest overdue first; of those of which a step was
        taken only the ones in a tier that has more of them."""

    def taken(self, items: Sequence[Item]) -> Mapping[Round, frozenset[Step]]: ...
    def record(self, escalations: Sequence[Escalation], at: datetime) -> int:
        """Writes steps down and opens next rounds, with an event each, in one transaction. Those taken before are left alone;
        returns how many were not."""
