"""Items whose answers changed are settled: decided, sent into the next round, or left waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hitl_bridge.core.model import Agreement, ItemState, Op
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.review.settle import Given, Settled, asked_alike, settle
from hitl_bridge.ports import Clock, OpenReview, Settlement, StateStore, item_subject
from hitl_bridge.services.sync.attempts import given_up_because, in_order, tried

STEP = "resolve"
"""The name of this step in `attempts`; the store takes its tries back when settlements are recorded."""


@dataclass(frozen=True, slots=True)
class ResolveResult:
    """New or changed `decisions`; items `disputed` by their reviewers or `escalated` by rule, both sent to an adjudicator;
    items whose answers are still `incomplete`. Of these, `asked_again` got all the answers that Label Studio asks for, which
    do not count (one person's second, one from outside the pool, one in quarantine): they go into a next round. `failed`
    items ended the process each time they were settled, and are set aside."""

    decisions: int = 0
    disputed: int = 0
    escalated: int = 0
    incomplete: int = 0
    asked_again: int = 0
    failed: int = 0


def resolve(store: StateStore, policy: ReviewPolicy, clock: Clock, *, dry_run: bool = False) -> ResolveResult:
    """Settles what changed since it was last settled. With `dry_run` says what would follow and writes nothing."""
    now = clock.now()
    reviews = store.open_reviews()
    if not reviews:
        return ResolveResult()
    order = in_order(reviews, _subject, store.deaths(STEP))
    if not dry_run:
        _give_up(store, order.given_up, now)
    settled: list[Settled] = []
    for batch in order.batches:
        settled += _settled(batch, policy, now) if dry_run else _settle(store, batch, policy, now)
    return _counted(settled, failed=len(order.given_up))


def _settle(store: StateStore, reviews: Sequence[OpenReview], policy: ReviewPolicy, now: datetime) -> list[Settled]:
    with tried(store, STEP, [_subject(review) for review in reviews], now):
        settled = _settled(reviews, policy, now)
        store.record_settlements([_settlement(*pair) for pair in zip(reviews, settled, strict=True)], now)
    return settled


def _settled(reviews: Sequence[OpenReview], policy: ReviewPolicy, now: datetime) -> list[Settled]:
    return [
        settle(review.item, _given(review), review.decision, policy.settling(review.item), policy.kind.same, now)
        for review in reviews
    ]


def _given(review: OpenReview) -> Given:
    alike = asked_alike(review.item, review.tasks)
    return Given(review.annotations, tuple(each for each in review.earlier if each.push_key in alike))


def _give_up(store: StateStore, reviews: Sequence[OpenReview], now: datetime) -> None:
    reason = given_up_because("settling")
    failed = [Settlement(each.item.item_id, each.item.revision, ItemState.FAILED, event=reason) for each in reviews]
    if failed:
        store.record_settlements(failed, now)


def _subject(review: OpenReview) -> str:
    return item_subject(review.item.item_id, review.item.revision)


def _settlement(review: OpenReview, settled: Settled) -> Settlement:
    return Settlement(
        item_id=review.item.item_id,
        revision=review.item.revision,
        state=settled.state,
        decision=settled.decision,
        next_round=settled.next_round,
        event=settled.reason,
    )


def _counted(settled: Sequence[Settled], *, failed: int) -> ResolveResult:
    counts = Counter(_kind(each) for each in settled)
    made = sum(each.decision is not None and each.decision.op is not Op.REMOVE for each in settled)
    asked_again = sum(each.asked_again for each in settled)
    return ResolveResult(made, counts["disputed"], counts["escalated"], counts["incomplete"], asked_again, failed)


def _kind(settled: Settled) -> str:
    if settled.escalated:
        return "escalated"
    return {Agreement.AGREED: "agreed", Agreement.DISPUTED: "disputed", Agreement.INCOMPLETE: "incomplete"}[settled.agreement]
