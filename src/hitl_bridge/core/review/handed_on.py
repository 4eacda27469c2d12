"""Where an item goes when it is not settled where it lies: to an adjudicator, or back to the reviewers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hitl_bridge.core.deadlines import WorkingHours, shift
from hitl_bridge.core.model import ADJUDICATION, Annotation, Decision, Item, ItemState, Op, Request, Route
from hitl_bridge.core.review.consensus import is_everybody

DISPUTED = "Reviewers disagree on this item."
OVERTURNED = "A check of this item disagrees with the model."
ESCALATED = "A reviewer asks that an adjudicator decides."
CHALLENGED = "A reviewer challenges the decision on this item."
NOT_THEIRS = "Asked again: it is for somebody else than who asked for this, made the decision or has judged the item before."
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


@dataclass(frozen=True, slots=True)
class Aside:
    """Who leaves the present round of an item to others: who `asked` for it, who made the `decided` one in question, who has
    `judged` the item before (or, in a review, has returned it to the reviewers)."""

    asked: frozenset[str] = frozenset()
    decided: frozenset[str] = frozenset()
    judged: frozenset[str] = frozenset()

    def left_out(self, eligible: Collection[str], needed: int) -> frozenset[str]:
        """Who of the `eligible` is not heard. Who asked never is: that would be settling one's own request. The others are where
        fewer than `needed` would be left: two people who make up a pool have nobody else to settle what they dispute. Of a pool
        that means everybody nobody knows whom it has beside those who judged."""
        if is_everybody(eligible):
            return self.asked | self.decided
        partial = self.decided | self.judged
        return self.asked | (partial if len(frozenset(eligible) - self.asked - partial) >= needed else frozenset())

    def leaves_nobody(self, eligible: Collection[str]) -> bool:
        """Whether everybody who may settle the round is who asked for it, so that it waits until somebody else may."""
        return not is_everybody(eligible) and frozenset(eligible) <= self.asked


def aside(item: Item, standing: Decision | None, elsewhere: Sequence[Annotation], deleted: Sequence[Annotation] = ()) -> Aside:
    """Who leaves the present round of `item` to others, by the answers to other questions than its own (`elsewhere`).

    Who has `deleted` such an answer since has taken back what it said, not that they have had their say.
    """
    returned = frozenset(each.reviewer for each in asks((*elsewhere, *deleted), Request.RETURN))
    if item.route.tier != ADJUDICATION:
        return Aside(judged=returned)
    in_question = standing is not None and standing.op is not Op.REMOVE and standing.round < item.round
    return Aside(
        asked=frozenset(each.reviewer for each in asks(elsewhere, Request.ESCALATE)),
        decided=frozenset(standing.reviewers if standing is not None and in_question else ()),
        judged=frozenset(
            [each.reviewer for each in elsewhere if each.answer is not None and each.answer.request is None]
            + [each.reviewer for each in deleted if each.answer is not None and each.answer.request is not Request.RETURN]
        ),
    )
