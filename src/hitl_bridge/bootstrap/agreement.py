"""How people do, and the items whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hitl_bridge.bootstrap.settling import Settling

if TYPE_CHECKING:
    from hitl_bridge.services.desk.agreement import GoldResult, ReviewersReport


class Measuring(Settling):
    """The verbs about agreement; `Bridge` has them all."""

    def reviewers_report(self) -> ReviewersReport:
        """How far people agree, how often they are right on gold items, and what showing the model's answer does to them."""
        from hitl_bridge.services.desk.agreement import reviewers_report

        return reviewers_report(self.store.agreement(), self.policy, self.settings.workspace_key)

    def add_gold(self, path: Path, *, by: str | None = None) -> GoldResult:
        """The true answers of items, from a file, in the name of `by` (git's user.name if None)."""
        from hitl_bridge.adapters.gold_files import read_gold
        from hitl_bridge.services.desk.agreement import add_gold

        rows, signer = read_gold(path), self.signer(by)
        with self._alone():
            return add_gold(self.store.agreement(), self.policy, self.clock, rows, signer)

    def remove_gold(self, item_ids: Sequence[str], *, by: str | None = None) -> int:
        """These are gold no more; how many were."""
        from hitl_bridge.services.desk.agreement import remove_gold

        signer = self.signer(by)
        with self._alone():
            return remove_gold(self.store.agreement(), self.clock, item_ids, signer)

    def gold(self) -> GoldResult:
        """How many items have a known answer, and how many of them somebody has answered."""
        from hitl_bridge.services.desk.agreement import gold_known

        return gold_known(self.store.agreement())
