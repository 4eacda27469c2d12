"""The pages of tasks: the item, and what reviewers should know beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from hitl_bridge.core.model import ADJUDICATION, Annotation, Item, ReviewTask
from hitl_bridge.core.page import TaskContent, page
from hitl_bridge.core.policy import ReviewPolicy, criteria
from hitl_bridge.core.prior import Asked, Beside
from hitl_bridge.core.review.consensus import deciding_answers
from hitl_bridge.core.review.settle import asked_alike
from hitl_bridge.core.routing import MOST_REVIEWERS
from hitl_bridge.core.sync import push_key
from hitl_bridge.ports import StateStore

PageContext: TypeAlias = "Callable[[Sequence[Item]], Asked]"
"""What pages show beside these items."""

SHOWS_PRIOR = "$prior"
"""Stands in a label config that has room for prior decisions."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Makes pages. `key` is the workspace's, of which push keys are made; `several_seats`: an item may have more tasks in a round
    than one. Without a `context` nothing is shown beside the items."""

    store: StateStore
    policy: ReviewPolicy
    key: bytes
    several_seats: bool = False
    context: PageContext | None = None

    def of(self, tasks: Sequence[tuple[Item, ReviewTask]]) -> list[TaskContent]:
        """The page of each task, in their order."""
        if self.context is None:
            return [self._page(item, task, None) for item, task in tasks]
        beside = self.context([item for item, _ in tasks])
        return [self._page(item, task, beside.get((item.item_id, item.revision), Beside())) for item, task in tasks]

    def _page(self, item: Item, task: ReviewTask, beside: Beside | None) -> TaskContent:
        disputed = self._disputed(item) if item.route.tier == ADJUDICATION else ()
        said = criteria(self.policy.tier(task.project_key.tier), self.policy.kind)
        return page(task.push_key, item, disputed, self.policy.kind, said, beside)

    def _disputed(self, item: Item) -> Sequence[Annotation]:
        """The answers that an adjudicator chooses from: those that counted in the rounds that led to the dispute."""
        seats = range(MOST_REVIEWERS if self.several_seats else 1)
        before = [push_key(self.key, replace(item, round=number), seat) for number in range(1, item.round) for seat in seats]
        asked = [task for task in self.store.tasks_by_key(before).values() if task.project_key.tier != ADJUDICATION]
        if not asked:
            return ()
        last = max(asked, key=lambda task: task.round)
        reviewed = replace(item, round=last.round, route=replace(item.route, tier=last.project_key.tier))
        keys = [*(task.push_key for task in asked if task.round == last.round), *asked_alike(reviewed, asked)]
        return deciding_answers(self.store.standing_annotations(keys), self.policy.settling(reviewed).eligible)
