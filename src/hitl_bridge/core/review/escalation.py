"""What happens when nobody finishes an item in time: step by step of the ladder of its tier, each step once a deadline."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from hitl_bridge.core.deadlines import WorkingHours, shift
from hitl_bridge.core.gold import is_gold
from hitl_bridge.core.ladder import ADJUDICATOR, LEAD, OVERDUE, Audience, Rung, usual_ladder
from hitl_bridge.core.model import ADJUDICATION, Item, ItemState, Purpose
from hitl_bridge.core.notices import Notice
from hitl_bridge.core.review.handed_on import to_adjudicator, to_pool

if TYPE_CHECKING:
    from hitl_bridge.core.policy import ReviewPolicy

LATE = "Nobody has finished this item in time."


@dataclass(frozen=True, slots=True)
class Escalation:
    """A step that is due for the present deadline of `item`; `next_round` where it opens one. Where several steps would take the
    item elsewhere at once (nobody looked for a while) all but the last are `passed_over`. `notices` tell people of it."""

    item: Item
    step: str
    rung: Rung
    next_round: Item | None = None
    passed_over: bool = False
    notices: tuple[Notice, ...] = ()


def ladder(item: Item, policy: ReviewPolicy) -> tuple[Rung, ...]:
    """The steps that there are for an item, in their order.

    A blind item stays with reviewers, however late: an adjudicator sees all there is. So does one whose answer is known: there is
    nothing to settle. Nothing is handed to the pool that has it.
    """
    rungs = _of_tier(item, policy)
    return tuple(rung for rung in rungs if rung.give_to is None or _can_go_to(item, rung.give_to, policy))


def _of_tier(item: Item, policy: ReviewPolicy) -> tuple[Rung, ...]:
    if item.route.tier == ADJUDICATION:
        return policy.tier(ADJUDICATION).ladder or (LEAD,)
    tier = policy.tiers.get(item.route.tier)
    if tier is None:
        return (OVERDUE,)
    return usual_ladder(tier.sla, tier.escalate_after) if tier.ladder is None else tier.ladder


def _can_go_to(item: Item, place: str, policy: ReviewPolicy) -> bool:
    if place == ADJUDICATOR:
        return item.triage.purpose is Purpose.REVIEW and item.route.tier != ADJUDICATION and not is_gold(item)
    return place in policy.pools and place != item.route.pool


def due_steps(item: Item, policy: ReviewPolicy, taken: Collection[str], now: datetime) -> list[Escalation]:
    """The steps that are due and were not taken for this deadline. What nobody has been asked yet is not late."""
    if item.state not in (ItemState.PUSHED, ItemState.ANSWERED):
        return []
    hours = policy.hours(item.route.pool, item.route.tier)
    rungs = [rung for rung in ladder(item, policy) if rung.name not in taken and now >= _moment(item, rung, hours)]
    moves = [rung for rung in rungs if rung.give_to is not None]
    return [_step(item, rung, policy, now, passed_over=rung in moves[:-1]) for rung in rungs]


def _moment(item: Item, rung: Rung, hours: WorkingHours | None) -> datetime:
    return shift(item.route.due_at, rung.after, hours)


def _step(item: Item, rung: Rung, policy: ReviewPolicy, now: datetime, *, passed_over: bool) -> Escalation:
    if rung.give_to is None or passed_over:
        return Escalation(item, rung.name, rung, passed_over=passed_over)
    if rung.give_to != ADJUDICATOR:
        return Escalation(item, rung.name, rung, to_pool(item, rung.give_to))
    return Escalation(item, rung.name, rung, to_adjudicator(item, policy.adjudicated_by(item.route.pool, now), LATE))


def told(each: Escalation, policy: ReviewPolicy) -> Escalation:
    """With the notices by which people hear of it: at most one for each channel, deadline and step."""
    if each.passed_over:
        return each
    route = each.item.route
    given_to = each.rung.give_to
    pool = given_to if given_to is not None and given_to != ADJUDICATOR else route.pool
    channels = policy.notices.lead if each.rung.tell is Audience.LEAD else policy.notices.of_pool(pool)
    said = {"step": each.step, "pool": pool, "tier": route.tier, "due_at": route.due_at.isoformat()}
    if each.next_round is not None:
        said |= {"from": route.pool, "tier": each.next_round.route.tier}
    subject = f"{each.item.item_id}\n{each.item.revision}\n{route.due_at.isoformat()}\n{each.step}"
    return replace(each, notices=tuple(Notice("late", subject, channel, said) for channel in channels))


def all_steps(policy: ReviewPolicy) -> dict[str, frozenset[str]]:
    """By tier, the steps that its ladder has at most: an item that has taken all of them needs no further look."""
    return {name: frozenset(rung.name for rung in _rungs(policy, name)) for name in (*policy.tiers, ADJUDICATION)}


def earliest(policy: ReviewPolicy) -> Sequence[tuple[Rung, WorkingHours | None]]:
    """Steps that come before the deadline, with the hours by which they may be counted."""
    hours = [None, *(pool.hours for pool in policy.pools.values() if pool.hours is not None)]
    early = [rung for name in (*policy.tiers, ADJUDICATION) for rung in _rungs(policy, name) if rung.after.days < 0]
    return [(rung, each) for rung in early for each in hours]


def _rungs(policy: ReviewPolicy, name: str) -> tuple[Rung, ...]:
    tier = policy.tier(name)
    if tier.ladder is not None:
        return tier.ladder
    return (LEAD,) if name == ADJUDICATION else usual_ladder(tier.sla, tier.escalate_after)
