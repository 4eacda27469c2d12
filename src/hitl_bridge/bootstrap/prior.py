"""What was decided before, and what reviewers miss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hitl_bridge.bootstrap.settling import Settling
from hitl_bridge.core.model import ItemId

if TYPE_CHECKING:
    from hitl_bridge.core.prior import MissingLabel
    from hitl_bridge.services.desk.prior import SimilarResult


class Recalling(Settling):
    """The verbs about earlier decisions; `Bridge` has them all."""

    def similar(self, item_id: str, most: int = 10) -> SimilarResult:
        """The decided items that are most like this one. Raises UnknownName for one that no person was to see."""
        from hitl_bridge.services.desk.prior import similar

        return similar(self._prior_ports, ItemId(item_id), most)

    def missing_labels(self) -> Sequence[MissingLabel]:
        """Labels that reviewers say should exist, the most frequent first."""
        from hitl_bridge.services.desk.prior import missing_labels

        return missing_labels(self.store.prior())
