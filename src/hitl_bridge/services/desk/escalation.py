"""Items that nobody has finished in time: each step of the ladder is taken once a deadline, whoever asks and however often; and
how deadlines stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hitl_bridge.core.deadlines import Standing, shift, standing
from hitl_bridge.core.model import Item, ItemId, Purpose
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.review.escalation import all_steps, due_steps, earliest, ladder, told
from hitl_bridge.ports import Clock, EscalationStore, OpenDeadline
from hitl_bridge.ports.escalations import Deadline


@dataclass(frozen=True, slots=True)
class EscalateResult:
    """Items that became `overdue`, or are soon (`at_risk`); that were taken to another pool or `to_adjudicator`; of which the
    lead has to hear (`to_lead`)."""

    overdue: int = 0
    to_adjudicator: int = 0
    to_lead: int = 0
    to_pool: int = 0
    at_risk: int = 0

    @property
    def something(self) -> bool:
        return self != EscalateResult()


def escalate(store: EscalationStore, policy: ReviewPolicy, clock: Clock) -> EscalateResult:
    """Takes every step that is due."""
    now = clock.now()
    # An early step of the slowest clock there is: whether it is due is told item by item.
    horizon = max([now, *(shift(now, -rung.after, hours) for rung, hours in earliest(policy))])
    late = store.due_by(horizon, all_steps(policy))
    taken = store.taken(late) if late else {}
    due = [
        told(each, policy)
        for item in late
        for each in due_steps(item, policy, taken.get((item.item_id, item.revision, item.route.due_at), frozenset()), now)
    ]
    recorded = store.record(due, now) if due else []
    counts = Counter(_kind(each.step) for each in recorded if not each.passed_over)
    return EscalateResult(**counts)


def _kind(step: str) -> str:
    if step.startswith("pool:"):
        return "to_pool"
    return {"overdue": "overdue", "adjudicator": "to_adjudicator", "lead": "to_lead"}.get(step, "at_risk")


# ------------------------------------------------------------------------------------------------- how deadlines stand


@dataclass(frozen=True, slots=True)
class DeadlineLine:
    """Unfinished items of a pool and tier by how their deadlines stand; `next_due` is the first deadline that has not passed."""

    pool: str
    tier: str
    due: int
    at_risk: int
    overdue: int
    next_due: datetime | None


@dataclass(frozen=True, slots=True)
class LateItem:
    """An item that people were asked about and that is overdue or at risk; `steps` were taken for this deadline, and `next_step`
    comes at `next_at` (None: there is none)."""

    item_id: ItemId
    revision: int
    pool: str
    tier: str
    due_at: datetime
    standing: Standing
    steps: tuple[str, ...]
    next_step: str | None
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How all deadlines stand, by pool and tier, and the items that are late or soon will be, the longest overdue first."""

    lines: tuple[DeadlineLine, ...]
    items: tuple[LateItem, ...]


def deadline_lines(store: EscalationStore, policy: ReviewPolicy, now: datetime) -> tuple[DeadlineLine, ...]:
    """How deadlines stand, by pool and tier."""
    groups: dict[tuple[str, str], list[tuple[Standing, OpenDeadline]]] = {}
    for each in store.open_deadlines():
        groups.setdefault((each.pool, each.tier), []).append((_standing(policy, each, now), each))
    return tuple(_line(pool, tier, some, now) for (pool, tier), some in sorted(groups.items()))


def _standing(policy: ReviewPolicy, each: OpenDeadline, now: datetime) -> Standing:
    return _stands(policy, (each.pool, each.tier, each.purpose), each.due_at, now)


def _stands(policy: ReviewPolicy, place: tuple[str, str, Purpose], due_at: datetime, now: datetime) -> Standing:
    pool, tier, purpose = place
    if not policy.has_tier(tier):
        return Standing.OVERDUE if due_at < now else Standing.DUE
    return standing(due_at, now, policy.little_time(tier, purpose), policy.hours(pool, tier))


def _line(pool: str, tier: str, some: Sequence[tuple[Standing, OpenDeadline]], now: datetime) -> DeadlineLine:
    counts: Counter[Standing] = Counter()
    for stands, each in some:
        counts[stands] += each.items
    ahead = [each.due_at for _, each in some if each.due_at >= now]
    return DeadlineLine(
        pool, tier, counts[Standing.DUE], counts[Standing.AT_RISK], counts[Standing.OVERDUE], min(ahead, default=None)
    )


def deadlines(store: EscalationStore, policy: ReviewPolicy, clock: Clock) -> Deadlines:
    """How deadlines stand, with the items that people should look at now."""
    now = clock.now()
    asked = store.due_by(_at_risk_until(policy, now))
    late = [(item, stands) for item in asked if (stands := _item_stands(policy, item, now)) is not Standing.DUE]
    taken = store.taken([item for item, _ in late]) if late else {}
    lines = deadline_lines(store, policy, now)
    return Deadlines(lines, tuple(_late(item, stands, policy, taken) for item, stands in late))


def _at_risk_until(policy: ReviewPolicy, now: datetime) -> datetime:
    """By then everything is due that may be at risk, by whichever clock it is counted."""
    spans = [policy.little_time(name, purpose) for name in all_steps(policy) for purpose in Purpose]
    hours = [None, *(pool.hours for pool in policy.pools.values() if pool.hours is not None)]
    return max(shift(now, max(spans), each) for each in hours)


def _item_stands(policy: ReviewPolicy, item: Item, now: datetime) -> Standing:
    return _stands(policy, (item.route.pool, item.route.tier, item.triage.purpose), item.route.due_at, now)


def _late(item: Item, stands: Standing, policy: ReviewPolicy, taken: Mapping[Deadline, frozenset[str]]) -> LateItem:
    route, hours = item.route, policy.hours(item.route.pool, item.route.tier)
    steps = taken.get((item.item_id, item.revision, route.due_at), frozenset())
    ahead = [(shift(route.due_at, rung.after, hours), rung.name) for rung in ladder(item, policy) if rung.name not in steps]
    at, step = min(ahead, default=(None, None))
    return LateItem(
        item_id=item.item_id,
        revision=item.revision,
        pool=route.pool,
        tier=route.tier,
        due_at=route.due_at,
        standing=stands,
        steps=tuple(sorted(steps)),
        next_step=step,
        next_at=at,
    )
