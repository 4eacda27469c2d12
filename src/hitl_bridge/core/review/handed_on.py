"""Where an item goes when it is not settled where it lies: to an adjudicator, or back to the reviewers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hitl_bridge.core.deadlines import WorkingHours, shift
from hitl_bridge.core.model import ADJUDICATION, Annotation, Decision, Item, ItemState, Op, Request, Route

DISPUTED = "Reviewers disagree on this item."
OVERTURNED = "A check of this item disagrees with the model."
ESCALATED = "A reviewer asks that an adjudicator decides."
CHALLENGED = "A reviewer challenges the decision on this item."
LATE_THERE = "handed over by {pool}, where nobody finished it in time"


@dataclass(frozen=True, slots=True)
class ReviewTerms:
    """The tier in which an item was reviewed before it came to an adjudicator: to which it can be returned. `sla` is counted by
    `hours`."""

    tier: str
    reviewers: int
    sla: timedelta
    hours: WorkingHours | None = None


def asks(annotations: Sequence[Annotation], request: Request) -> tuple[Annotation, ...]:
    """Those of `annotations` that ask for it."""
    return tuple(each for each in annotations if each.answer is not None and each.answer.request is request)


def to_adjudicator(item: Item, due_at: datetime, why: str) -> Item:
    """`item` as queued for its next round, with an adjudicator."""
    route = Route(
        pool=item.route.pool,
        tier=ADJUDICATION,
        reviewers=1,
        due_at=due_at,
        priority=item.route.priority,
        blind=False,
        reason=f"{why} Please settle it, seeing all the answers.",
    )
    return replace(item, state=ItemState.QUEUED, round=item.round + 1, route=route)


def to_pool(item: Item, pool: str) -> Item:
    """`item` as queued for its next round with the people of another pool, who are asked the same. It is as late as it was, and
    is served as early: a deadline that moved with each hand would be none."""
    route = replace(item.route, pool=pool, reason=f"{item.route.reason} ({LATE_THERE.format(pool=item.route.pool)})")
    return replace(item, state=ItemState.QUEUED, round=item.round + 1, route=route)


def to_reviewers(item: Item, terms: ReviewTerms, returned: Annotation, now: datetime) -> Item:
    """`item` as queued for a new round in the tier that it came from, with the adjudicator's words. Its urgency stays."""
    said = returned.answer.rationale if returned.answer is not None else ""
    route = Route(
        pool=item.route.pool,
        tier=terms.tier,
        reviewers=terms.reviewers,
        due_at=shift(now, terms.sla, terms.hours),
        priority=item.route.priority,
        blind=False,
        reason=f"{item.route.pool}, {terms.tier} review, returned for correction",
        note=f"Returned for correction: {said}" if said else "Returned for correction.",
    )
    return replace(item, state=ItemState.QUEUED, round=item.round + 1, route=route)


def challenges(item: Item, standing: Decision | None, elsewhere: Sequence[Annotation]) -> tuple[Annotation, ...]:
    """Answers of earlier rounds that were changed to a plea for an adjudicator after the `standing` decision was made, in the
    present round, by one. Both times are the labeling service's own."""
    if standing is None or standing.op is Op.REMOVE or standing.round != item.round or item.route.tier != ADJUDICATION:
        return ()
    settled_at = max((key.partition("@")[2] for key in standing.annotations), default="")
    return tuple(each for each in asks(elsewhere, Request.ESCALATE) if each.updated_at > settled_at)


def set_aside(item: Item, standing: Decision | None, elsewhere: Sequence[Annotation]) -> frozenset[str]:
    """Who should not adjudicate this round of `item`: who asked for an adjudicator, and who made the decision in question."""
    if item.route.tier != ADJUDICATION:
        return frozenset()
    asked = {each.reviewer for each in asks(elsewhere, Request.ESCALATE)}
    in_question = standing is not None and standing.op is not Op.REMOVE and standing.round < item.round
    return frozenset(asked | set(standing.reviewers if standing is not None and in_question else ()))
