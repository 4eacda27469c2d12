"""Item × tier × expertise → route: who reviews it, how many answers it needs, by when, and in what order it is served."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from hitl_bridge.core import draws
from hitl_bridge.core.deadlines import WorkingHours, local, shift
from hitl_bridge.core.ladder import Rung
from hitl_bridge.core.model import Purpose, Route, Triage
from hitl_bridge.core.triage import reasons

ConsensusName: TypeAlias = Literal["single", "majority", "unanimous", "weighted"]

MOST_REVIEWERS = 9
"""The most that a tier may ask for an item."""

_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_HOURS = 1_000_000
"""Hours that the scale of priorities spans (114 years), so that every priority lies in [0, 1]."""

SLOT = 0.5 / _HOURS
"""Half an hour, as a difference of priorities: what lies nearer together may change places."""


@dataclass(frozen=True, slots=True)
class Tier:
    """What happens to a prediction of this risk. `sla` is counted from when the prediction was received.

    Where the reviewers agree too little one more is asked, up to `max_reviewers`; with the consensus `weighted` that is where
    the most probable answer is less probable than `min_probability`. `blind` is the share of reviews that show no prediction.
    `criteria` is what its reviewers are to go by.
    Time is that of the pool's working hours, unless the tier runs `around_the_clock`; with `at_risk` of it left or less an item
    is at risk (None: a quarter of the time that it had). `ladder` is what happens to what is late (None: the usual).
    """

    name: str
    max_risk: float
    reviewers: int = 1
    sla: timedelta = timedelta(hours=24)
    consensus: ConsensusName = "single"
    rationale_required: bool = False
    checklist: tuple[str, ...] = ()
    escalate_after: timedelta | None = None
    reasons: tuple[str, ...] = ()
    max_reviewers: int = 0
    min_probability: float = 0.9
    blind: float = 0.0
    criteria: str = ""
    around_the_clock: bool = False
    at_risk: timedelta | None = None
    ladder: tuple[Rung, ...] | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """Who can judge what, and when they work (None: time is counted by the clock). `when` is a SQL expression over the
    prediction's fields; a pool without one takes the rest."""

    name: str
    when: str | None = None
    reviewers: tuple[str, ...] = ()
    adjudicators: tuple[str, ...] = ()
    hours: WorkingHours | None = None


_ONE_VALUE = re.compile(r"\s*(\w+)\s*=\s*'([^']*)'\s*")
_NOBODY = re.compile(r"\s*false\s*", re.IGNORECASE)


def may_overlap(pools: Iterable[Pool]) -> bool:
    """Whether two pools' conditions may hold for one item. Surely not where each names another value of the same field."""
    conditions = [pool.when for pool in pools if pool.when is not None and not _NOBODY.fullmatch(pool.when)]
    named = [match.groups() for match in map(_ONE_VALUE.fullmatch, conditions) if match is not None]
    apart = len({field.casefold() for field, _ in named}) == 1 and len({value for _, value in named}) == len(conditions)
    return len(conditions) > 1 and not apart


def hours_of(pool: Pool | None, tier: Tier) -> WorkingHours | None:
    """By which hours a deadline of that tier is counted in that pool."""
    return None if pool is None or tier.around_the_clock else pool.hours


@dataclass(frozen=True, slots=True)
class BlindOrder:
    """The deadline of blind items, and a keyed number in [0, 1) that takes the place of the risk in their priority."""

    sla: timedelta
    mix: float


def choose_route(triage: Triage, pool: Pool, tier: Tier, received_at: datetime, blind: BlindOrder) -> Route:
    """Where an item goes.

    Args:
        tier: the tier that a person works in: the item's own, or for blind items the first review tier.
        blind: how a blind item hides among the ordinary ones; unused for the others. One look at it is enough: the
            tier's second reviewer is for what the model doubts.
    """
    is_blind = triage.purpose in (Purpose.AUDIT, Purpose.UNIFORM)
    hours = hours_of(pool, tier)
    due_at = shift(received_at, blind.sla if is_blind else tier.sla, hours)
    # A blind item is served as if it were due with the ordinary items of its project, or the last ones would be known.
    served_by = shift(received_at, tier.sla, hours)
    risk, by_rule = (blind.mix, False) if is_blind else (triage.risk, triage.rule is not None)
    reviewers = 1 if is_blind else tier.reviewers
    return Route(
        pool=pool.name,
        tier=tier.name,
        reviewers=reviewers,
        due_at=due_at,
        priority=priority(served_by, risk, by_rule=by_rule),
        blind=is_blind,
        reason=_reason(pool.name, tier.name, reviewers, local(due_at, hours)),
    )


def blind_draw(key: bytes, model_version: str, item_id: str) -> float:
    """The draw that decides whether a review shows no prediction, in [0, 1)."""
    return draws.draw(key, "blind", model_version, item_id)


def with_blind_draw(triage: Triage, route: Route, rate: float, drawn: float) -> tuple[Triage, Route]:
    """With what was `drawn` against `rate`. A blind one looks like an audit and is served in its turn like any other."""
    if drawn >= rate:
        return replace(triage, blind_rate=rate), route
    return replace(triage, blind_rate=rate, reason=reasons.BLIND), replace(route, blind=True)


def postponed(route: Route, triage: Triage, by: timedelta, hours: WorkingHours | None = None) -> Route:
    """The route of an item that waited for so long (in working time) before anybody was to see it: the deadline did not run."""
    due_at = shift(route.due_at, by, hours)
    return replace(
        route,
        due_at=due_at,
        priority=priority(due_at, triage.risk, by_rule=triage.rule is not None),
        reason=_reason(route.pool, route.tier, route.reviewers, local(due_at, hours)),
    )


def _reason(pool: str, tier: str, reviewers: int, due: str) -> str:
    return f"{pool}, {tier} review, {_answers(reviewers)}, due {due}"


def priority(due_at: datetime, risk: float, *, by_rule: bool) -> float:
    """The place in the order of serving, in [0, 1]; the lowest is served first.

    The hour of the deadline decides; within it items of a rule come first, then those of higher risk.
    """
    hours = (due_at - _EPOCH).total_seconds() / 3600
    return min(1.0, max(0.0, (hours + (0.0 if by_rule else 0.5) + 0.5 * (1.0 - risk)) / _HOURS))


def _answers(reviewers: int) -> str:
    return "one answer" if reviewers == 1 else f"{reviewers} independent answers"
