"""Answers as a record of those who gave them, and items whose answer is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from hitl_bridge.core.model import ItemId, JSONObject
from hitl_bridge.core.review.records import GivenAnswer


class AgreementStore(Protocol):
    """What people said, and what is known to be true."""

    def given(self, most: int, *, settled: bool = False, only_gold: bool = False) -> list[GivenAnswer]:
        """The newest answers to review tasks, adjudications left out, `most` at most; of each annotation the revision in force.

        Args:
            settled: none to items with answers that wait to be settled.
            only_gold: only to items with a known answer.
        """

    def gold(self) -> Mapping[ItemId, JSONObject | None]:
        """Known answers by item; None where no label fits."""

    def record_gold(self, known: Mapping[ItemId, JSONObject | None], by: str, at: datetime) -> None:
        """Known from now on, in place of what was known before; with an event each."""

    def forget_gold(self, item_ids: Sequence[ItemId], by: str, at: datetime) -> int:
        """Not known any more; how many were. With an event each."""
