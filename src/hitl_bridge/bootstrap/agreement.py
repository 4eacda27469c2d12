"""How people do, and the items whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hitl_bridge.bootstrap.people import Staffing
from hitl_bridge.core.people import RosterChange, Term, roster_change, seats
from hitl_bridge.core.routing import may_overlap

if TYPE_CHECKING:
    from hitl_bridge.core.model import Item
    from hitl_bridge.core.policy import ReviewPolicy
    from hitl_bridge.services.desk.agreement import GoldResult, ReviewersReport
    from hitl_bridge.services.desk.gold import GoldPorts, GoldStock
    from hitl_bridge.services.desk.pools import SharingOut


class Measuring(Staffing):
    """The verbs about agreement; `Bridge` has them all."""

    def reviewers_report(self) -> ReviewersReport:
        """How far people agree, how often they are right on gold items, and what showing the model's answer does to them."""
        from hitl_bridge.services.desk.agreement import reviewers_report

        return reviewers_report(self.store.agreement(), self.store.gold(), self.policy, self.settings.workspace_key)

    def add_gold(self, path: Path, *, by: str | None = None) -> GoldResult:
        """The true answers of items, from a file, in the name of `by` (git's user.name if None)."""
        from hitl_bridge.adapters.gold_files import read_gold
        from hitl_bridge.services.desk.agreement import add_gold

        rows, signer = read_gold(path), self.signer(by)
        with self._alone():
            return add_gold(self.store.agreement(), self._gold_ports, self.policy, rows, signer)

    def ask_known(self) -> int:
        """Queues what is due of the known items: beside what people are sent, and for newcomers. Part of `push`."""
        gold, terms = self.store.gold(), self.policy.gold
        if terms.onboarding:
            self.keep_roster()
        if not (terms.share and gold.left()) and not (terms.onboarding and gold.learners()):
            return 0
        from hitl_bridge.services.desk.gold import ask_known

        with self._alone():
            return ask_known(self._gold_ports, self.policy)

    def gold_stock(self) -> GoldStock:
        """What is left of the bank of known items, and who waits for some."""
        from hitl_bridge.services.desk.gold import stock

        return stock(self._gold_ports, self.policy)

    def share_out(self) -> int:
        """Gives queued items that several pools are able to judge to the one that the optimum says. Part of `push`."""
        if not self._is_shared_out:
            return 0
        from hitl_bridge.services.desk.pools import share_out

        with self._alone():
            return share_out(self._sharing_ports, self.policy)

    def _queue_to_come(self) -> tuple[ReviewPolicy, list[Item]]:
        """The policy and the queue as `push` will find them, once items are shared out, newcomers learn and known items are
        asked; nothing is written."""
        from hitl_bridge.services.desk.gold import newly_learning, would_ask
        from hitl_bridge.services.desk.people import newcomers
        from hitl_bridge.services.desk.pools import shared_out

        policy, queued = self.policy, self.store.queued()
        if self._is_shared_out:
            queued = shared_out(self._sharing_ports, policy, queued)
        joined = newly_learning(policy, newcomers(*self._roster_to_come()))
        for pool, person in joined:
            policy = replace(policy, newcomers={**policy.newcomers, pool: {**policy.newcomers.get(pool, {}), person: None}})
        queued += would_ask(self._gold_ports, policy, queued, joined)
        return policy, sorted(queued, key=lambda item: (item.route.priority, item.received_at, item.item_id))

    def _roster_to_come(self) -> tuple[RosterChange, list[Term]]:
        """Who joins and leaves with the next push, where it looks at the roster; and the terms that are written down."""
        terms = self.store.people().terms()
        return roster_change(seats(self.settings.policy.pools.values()), terms), terms

    @property
    def _is_shared_out(self) -> bool:
        return not self.policy.by_reviewer and may_overlap(self.policy.pools.values())

    @property
    def _sharing_ports(self) -> SharingOut:
        from hitl_bridge.services.desk.pools import SharingOut

        known = self._gold_ports
        return SharingOut(self.store, self.store.people(), known.check, known.engine, self.clock, known.key)

    def pass_learners(self) -> int:
        """Lets the answers of those count from now on who have shown enough on known items. Part of `resolve`."""
        from hitl_bridge.services.desk.gold import pass_learners

        if not any(since is None for people in self.policy.newcomers.values() for since in people.values()):
            return 0
        with self._alone():
            passed = pass_learners(self._gold_ports, self.policy)
        if self.store.gold().newcomers() != self.policy.newcomers:  # by us, or by another process meanwhile
            self.forget_policy()
        return passed

    @property
    def _gold_ports(self) -> GoldPorts:
        from hitl_bridge.adapters.predictions.rows import RowRules, check_predictions
        from hitl_bridge.services.desk.gold import GoldPorts

        policy, key = self.policy, self.settings.workspace_key
        rules = RowRules(policy.kind, policy.labels, key, policy.plan.attributes, with_scores=bool(policy.plan.calibrations))
        engine = self._engine(policy.pool_conditions)
        return GoldPorts(self.store, self.store.gold(), lambda rows: check_predictions(rows, rules), engine, self.clock, key)

    def remove_gold(self, item_ids: Sequence[str], *, by: str | None = None) -> int:
        """These are gold no more; how many were."""
        from hitl_bridge.services.desk.agreement import remove_gold

        signer = self.signer(by)
        with self._alone():
            return remove_gold(self.store.agreement(), self.clock, item_ids, signer)

    def gold(self) -> GoldResult:
        """How many items have a known answer, and how many of them somebody has answered."""
        from hitl_bridge.services.desk.agreement import gold_known

        return gold_known(self.store.agreement(), self.store.gold())
