"""Who of the queue is pushed now, where people can't see everything that is doubtful (`triage.max_reviews`).

What was drawn, what a rule sent and what people have begun to judge always goes. Of the items that came by their risk as many go
as there is room for in the budget; the rest wait, and are looked at again by the next push. Nothing here writes: what was
decided is recorded by `push`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from hitl_bridge.core import draws
from hitl_bridge.core.deadlines import worked
from hitl_bridge.core.model import JSON, Item
from hitl_bridge.core.routing import postponed
from hitl_bridge.core.task_types.outputs import is_one_label
from hitl_bridge.core.triage.selection import (
    Arm,
    ReviewBudget,
    Selection,
    Waiting,
    came_by_risk,
    chance,
    doubt,
    features_of,
    select,
)
from hitl_bridge.ports import Pick, RecordedSelection, WaitingItem, Waits
from hitl_bridge.ports.waits import Identity

if TYPE_CHECKING:
    from hitl_bridge.core.policy import ReviewPolicy

_NO_TIME = timedelta(0)
_TEXT = "text"
"""The input field whose words are looked at; items without one are compared by their scores."""


@dataclass(frozen=True, slots=True)
class Picked:
    """`items` are to be pushed, in the order of serving; `waiting` counts those that are not. `recorded` is what has to be
    written down before the first of them is promised."""

    items: Sequence[Item]
    waiting: int = 0
    recorded: RecordedSelection = field(default_factory=RecordedSelection)


def pick(store: Waits, policy: ReviewPolicy, key: bytes, queued: Sequence[Item], now: datetime) -> Picked:
    """What is pushed now.

    Args:
        store: who waits, and what of the budget is gone.
        key: the workspace's key, for the draws.
        queued: the queued items that do not wait (`Waits.queued`).
    """
    budget = policy.review_budget
    if budget is None:
        return _everybody(store, policy, queued, now)
    spent = store.spent(now - budget.window)
    fresh = [item for item in queued if came_by_risk(item) and _identity(item) not in spent.promised]
    room = max(0, budget.max_reviews - spent.sent - len(spent.promised))
    among = len(fresh) + store.waiting_count()
    if among <= room:
        return _everybody(store, policy, queued, now)
    always = _without(queued, fresh)
    if room < budget.bundle:
        detail: dict[str, JSON] = {"picked": 0, "began_to_wait": len(fresh), "among": among, "room": room}
        return Picked(always, among, RecordedSelection(left=fresh, detail=detail))
    entries = [*(_entry(item, now) for item in fresh), *store.waiting()]
    return _Race(store, policy, budget, key, now, entries, {_identity(item): item for item in fresh}).run(always, room)


def _everybody(store: Waits, policy: ReviewPolicy, queued: Sequence[Item], now: datetime) -> Picked:
    """There is room for all; those that waited wait no more."""
    waiting = {entry.identity: entry.since for entry in store.waiting()}
    if not waiting:
        return Picked(queued)
    items = store.items_of(list(waiting))
    picks = [Pick(_postponed(policy, item, waiting[_identity(item)], now), Arm.ALL, 1.0) for item in items]
    detail: dict[str, JSON] = {"picked": len(picks), "began_to_wait": 0, "among": len(picks)}
    return Picked(_in_order([*queued, *(each.item for each in picks)]), 0, RecordedSelection(picks, detail=detail))


@dataclass(frozen=True, slots=True)
class _Race:
    """One selection among more items than there is room for. `items` are those of the entries that were read so far; at the
    beginning these are the fresh ones."""

    store: Waits
    policy: ReviewPolicy
    budget: ReviewBudget
    key: bytes
    now: datetime
    entries: Sequence[WaitingItem]
    items: dict[Identity, Item]

    def run(self, always: Sequence[Item], room: int) -> Picked:
        fresh = list(self.items.values())
        chosen = select(self._waiting(), room, random_arm=self.budget.random_arm, rounding=self._rounding())
        self._read([*chosen.by_doubt, *chosen.by_chance])
        picks = [*self._picks(chosen.by_doubt, Arm.DOUBT, chosen), *self._picks(chosen.by_chance, Arm.CHANCE, chosen)]
        left = _without(fresh, [each.item for each in picks])
        detail: dict[str, JSON] = {
            "picked": len(picks),
            "by_chance": [self.entries[place].item_id for place in chosen.by_chance],
            "probability": chosen.probability,
            "began_to_wait": len(left),
            "among": len(self.entries),
            "room": room,
        }
        items = _in_order([*always, *(each.item for each in picks)])
        return Picked(items, len(self.entries) - len(picks), RecordedSelection(picks, left, detail))

    def _picks(self, places: Sequence[int], arm: Arm, chosen: Selection) -> list[Pick]:
        entries = [self.entries[place] for place in places]
        items = [_postponed(self.policy, self.items[each.identity], each.since, self.now) for each in entries]
        return [Pick(item, arm, chosen.probability) for item in items]

    def _waiting(self) -> Waiting:
        occasion = self.now.isoformat()
        drawn = [chance(self.key, entry.model_version, entry.identity, occasion) for entry in self.entries]
        doubts = [entry.doubt for entry in self.entries]
        return Waiting(doubts, drawn, self._features, self.budget.spread_over.weighs_doubt)

    def _rounding(self) -> float:
        return draws.draw(self.key, "exploration", "", self.now.isoformat())

    def _features(self, places: Sequence[int]) -> Any:
        predictions = [item.prediction for item in self._read(places)]
        reads = self.policy.kind.input_field == _TEXT
        texts = [str(each.input.get(_TEXT, "")) for each in predictions] if reads else None
        return features_of(self.budget.spread_over, texts, [each.scores for each in predictions])

    def _read(self, places: Sequence[int]) -> list[Item]:
        """Only of candidates: of the others nothing but the doubt is looked at."""
        wanted = [self.entries[place].identity for place in places]
        missing = [identity for identity in wanted if identity not in self.items]
        self.items.update({_identity(item): item for item in self.store.items_of(missing)} if missing else {})
        return [self.items[identity] for identity in wanted]


def _entry(item: Item, now: datetime) -> WaitingItem:
    prediction = item.prediction
    of_item = doubt(prediction.scores, prediction.confidence, exclusive=is_one_label(prediction.output))
    return WaitingItem(item.item_id, item.revision, prediction.model_version, of_item, now)


def _identity(item: Item) -> Identity:
    return item.item_id, item.revision


def _postponed(policy: ReviewPolicy, item: Item, since: datetime, now: datetime) -> Item:
    hours = policy.hours(item.route.pool, item.route.tier)
    waited = max(_NO_TIME, worked(since, now, hours))
    return replace(item, route=postponed(item.route, item.triage, waited, hours)) if waited else item


def _without(items: Sequence[Item], some: Sequence[Item]) -> list[Item]:
    left_out = set(map(_identity, some))
    return [item for item in items if _identity(item) not in left_out]


def _in_order(items: Sequence[Item]) -> list[Item]:
    return sorted(items, key=lambda item: (item.route.priority, item.received_at, item.item_id))
