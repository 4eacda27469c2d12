"""Known items that the bridge asks by itself: mixed in unseen among what people are sent, and given to newcomers to learn by.

What is due follows from keyed draws and from what was asked before, so that whoever asks again after a crash asks nothing twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from hitl_bridge.core import draws
from hitl_bridge.core.gold import (
    MIXED_IN,
    TRAINING,
    Known,
    KnownItem,
    Learner,
    due_beside,
    is_training,
    lesson,
    mixed_in,
    name,
    next_lessons,
    paired,
)
from hitl_bridge.core.model import ADJUDICATION, JSON, BatchId, Item, ItemId, Purpose
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.triage.tiers import triage_of
from hitl_bridge.ports import Batch, Clock, RowChecker, StateStore, TriageEngine
from hitl_bridge.ports.gold import AskedGold, BankedItem, GoldStore
from hitl_bridge.services.desk.people import end_lessons
from hitl_bridge.services.intake.queueing import pool_of, prediction_of

SOURCE = "gold"
"""What stands as the source of a batch of known items."""


@dataclass(frozen=True, slots=True)
class GoldPorts:
    """What asking known items needs of the world, and the workspace's key."""

    store: StateStore
    gold: GoldStore
    check: RowChecker
    engine: TriageEngine
    clock: Clock
    key: bytes


@dataclass(frozen=True, slots=True)
class Learning:
    """How a newcomer does: so many known items answered, so many of the first answers right, of so many that they need."""

    pool: str
    reviewer: str
    answered: int
    right: int
    needed: int


Questions = list[tuple[Batch, list[AskedGold]]]


def ask_known(ports: GoldPorts, policy: ReviewPolicy) -> int:
    """Queues what is due of the bank now; returns how many items. Costs a query where nothing is."""
    learners = ports.gold.learners() if policy.gold.onboarding else []
    due, now = _questions(ports, policy, learners, ports.store.queued), ports.clock.now()
    for batch, asked in due:
        ports.gold.ask(batch, asked, now)
    return sum(len(asked) for _, asked in due)


def would_ask(
    ports: GoldPorts, policy: ReviewPolicy, queued: Sequence[Item], joined: Collection[tuple[str, str]] = ()
) -> list[Item]:
    """The items that `ask_known` would queue beside what is `queued`, once those who have `joined` learn; nothing is written."""
    now = ports.clock.now()
    learners = ports.gold.learners() if policy.gold.onboarding else []
    learners += [Learner(pool, person, now) for pool, person in joined]
    return [each.item for _, asked in _questions(ports, policy, learners, lambda: queued) for each in asked]


def _questions(
    ports: GoldPorts, policy: ReviewPolicy, learners: Sequence[Learner], queued: Callable[[], Sequence[Item]]
) -> Questions:
    left = ports.gold.left() if policy.gold.share else 0
    if not left and not any(not each.open for each in learners):
        return []
    due = _due(ports, policy, queued()) if left else []
    if not due and not learners:
        return []
    bank = known_items(ports, policy, ports.gold.bank())
    found = [_mix_in(ports, policy, due, bank), *(_teach(ports, policy, each, bank) for each in learners)]
    return [each for each in found if each is not None]


def known_items(ports: GoldPorts, policy: ReviewPolicy, rows: Sequence[BankedItem]) -> list[KnownItem]:
    """The rows as today's policy sees them. What fits the settings no more is left out."""
    import pyarrow as pa  # here, as whoever settles answers needs none of it

    checked = ports.check([cast("JSON", each.row) for each in rows]).predictions
    if not checked.num_rows:
        return []
    revisions = pa.array([1] * checked.num_rows, pa.int32())
    receipts = ports.engine.triage(checked.append_column("revision", revisions), policy.plan, ports.key).to_pylist()
    return [_known_item(policy, row, receipt) for row, receipt in zip(checked.to_pylist(), receipts, strict=True)]


def _known_item(policy: ReviewPolicy, row: Mapping[str, JSON], receipt: Mapping[str, JSON]) -> KnownItem:
    prediction = prediction_of(row)
    tier, risk = str(receipt["tier"]), cast("float", receipt["risk"])
    version, pool = policy.plan.policy_version, pool_of(policy, receipt).name
    if tier not in policy.tiers:
        return KnownItem(prediction, pool, tier, risk, version)
    answer, torn = policy.kind.brief(prediction.output), policy.kind.torn_between(prediction.scores)
    said = triage_of({**receipt, "purpose": Purpose.REVIEW}, prediction, answer, policy.plan, torn)
    return KnownItem(prediction, pool, tier, risk, version, said.reason)


# ------------------------------------------------------------------------------------------------------------- mixed in


def _due(ports: GoldPorts, policy: ReviewPolicy, queued: Sequence[Item]) -> list[Item]:
    drawn = due_beside(ports.key, queued, policy.gold.share)
    there = ports.gold.paired([name(item) for item in drawn])
    return [item for item in drawn if name(item) not in there]


def _mix_in(
    ports: GoldPorts, policy: ReviewPolicy, due: Sequence[Item], bank: Sequence[KnownItem]
) -> tuple[Batch, list[AskedGold]] | None:
    used, now = ports.gold.mixed_in(), ports.clock.now()
    pairs = paired(ports.key, due, [each for each in bank if each.item_id not in used])
    if not pairs:
        return None
    batch = _batch(MIXED_IN, ports.key, [f"{known.item_id} {name(item)}" for item, known in pairs], now)
    return batch, [
        AskedGold(
            mixed_in(known, item, policy.tier(item.route.tier), batch.batch_id, now, ports.key),
            known.item_id,
            item.route.pool,
            beside=name(item),
        )
        for item, known in pairs
    ]


def _batch(prefix: str, key: bytes, named: Sequence[str], now: datetime) -> Batch:
    content = draws.digest(key, "gold batch", *named)
    return Batch(BatchId(prefix + content[:16]), SOURCE, content, len(named), len(named), 0, 0, {}, 0, now)


# ------------------------------------------------------------------------------------------------------------- learning


def _teach(
    ports: GoldPorts, policy: ReviewPolicy, pupil: Learner, bank: Sequence[KnownItem]
) -> tuple[Batch, list[AskedGold]] | None:
    if not _learns(pupil, policy):
        return None
    lessons, now = next_lessons(ports.key, pupil, bank, policy.gold), ports.clock.now()
    if not lessons:
        return None
    tier = policy.tier(policy.plan.first_review_tier)
    batch = _batch(TRAINING, ports.key, [pupil.pool, pupil.person, *(each.item_id for each in lessons)], now)
    copies = [(each, lesson(each, pupil, tier, batch.batch_id, now, ports.key)) for each in lessons]
    return batch, [AskedGold(copy, known.item_id, pupil.pool, person=pupil.person) for known, copy in copies]


def _learns(pupil: Learner, policy: ReviewPolicy) -> bool:
    """Not who has left the pool meanwhile, nor who settles its disputes."""
    pool = policy.pools.get(pupil.pool)
    return pool is not None and pupil.person in pool.reviewers and pupil.person not in pool.adjudicators


def newly_learning(policy: ReviewPolicy, joined: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Who of those that have `joined` a pool as a reviewer learns first: all but those who settle disputes there."""
    experts = {(pool.name, person) for pool in policy.pools.values() for person in pool.adjudicators}
    return sorted(set(joined) - experts) if policy.gold.onboarding else []


def begin_learning(gold: GoldStore, policy: ReviewPolicy, joined: Sequence[tuple[str, str]], clock: Clock) -> int:
    """Who has `joined` a pool as a reviewer, and does not settle disputes, learns first; returns how many do."""
    new = newly_learning(policy, joined)
    if new:
        gold.begin(new, clock.now())
    return len(new)


def pass_learners(ports: GoldPorts, policy: ReviewPolicy) -> int:
    """Lets the answers of those count from now on who have shown enough, or are trusted to settle disputes; returns how many."""
    learners = ports.gold.learners()
    if not learners:
        return 0
    trusted = [each for each in learners if _adjudicates(each, policy)]
    for each in trusted:
        ports.gold.passed(each, ports.clock.now())
    end_lessons(ports.store, {(each.pool, each.person) for each in trusted if each.open}, ports.clock)
    return len(trusted) + _pass_by_answers(ports, policy, [each for each in learners if each not in trusted])


def _adjudicates(pupil: Learner, policy: ReviewPolicy) -> bool:
    return pupil.person in policy.people(pupil.pool, ADJUDICATION) and pupil.person in policy.pools[pupil.pool].adjudicators


def _pass_by_answers(ports: GoldPorts, policy: ReviewPolicy, learners: Sequence[Learner]) -> int:
    bank, passed = known_items(ports, policy, ports.gold.bank()), 0
    for each in learners:
        there = sum(known.pool == each.pool for known in bank)
        if each.has_passed(policy.gold, there, policy.kind.same):
            ports.gold.passed(each, ports.clock.now())
            passed += 1
    return passed


def learning(gold: GoldStore, policy: ReviewPolicy) -> tuple[Learning, ...]:
    """How newcomers do; reads alone."""
    return tuple(
        Learning(
            each.pool,
            each.person,
            len(each.answers),
            sum(answer.is_right(policy.kind.same) for answer in each.answers),
            policy.gold.onboarding,
        )
        for each in gold.learners()
        if _learns(each, policy)
    )


@dataclass(frozen=True, slots=True)
class GoldStock:
    """So many known items are `in_bank`, `left` of them to be mixed in. `waiting` are newcomers, by pool, who have not shown
    enough yet and for whom there is no further item."""

    in_bank: int = 0
    left: int = 0
    waiting: Mapping[str, int] = field(default_factory=dict)


def stock(ports: GoldPorts, policy: ReviewPolicy) -> GoldStock:
    """What is there of known items, and who waits for some; reads alone."""
    rows = ports.gold.bank()
    learners = [each for each in ports.gold.learners() if not each.open] if policy.gold.onboarding else []
    bank = known_items(ports, policy, rows) if learners else []
    waiting = Counter(
        each.pool for each in learners if _learns(each, policy) and not next_lessons(ports.key, each, bank, policy.gold)
    )
    return GoldStock(len(rows), ports.gold.left(), waiting)


@dataclass(slots=True)
class Lessons:
    """What is true of the items that people learn by, read when it is first asked for."""

    gold: GoldStore
    _known: Mapping[ItemId, Known] | None = None

    def of(self, item: Item) -> Known | None:
        """None if nobody learns by it, or its answer is not known any more."""
        if not is_training(item):
            return None
        if self._known is None:
            self._known = self.gold.lessons()
        return self._known.get(item.item_id)
