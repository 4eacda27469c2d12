"""Items whose answers changed are settled: decided, sent into the next round, or left waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from hitl_bridge.core.gold import ANSWERED, Known, is_gold, is_training, settle_lesson, settle_mixed_in
from hitl_bridge.core.model import ADJUDICATION, Agreement, Item, ItemState, Op
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.review.consensus import Weighing
from hitl_bridge.core.review.settle import Given, Settled, SettlePolicy, asked_alike, settle
from hitl_bridge.core.routing import Tier
from hitl_bridge.ports import Clock, OpenReview, Settlement, StateStore, item_subject
from hitl_bridge.services.sync.attempts import given_up_because, in_order, tried

STEP = "resolve"
"""The name of this step in `attempts`; the store takes its tries back when settlements are recorded."""


@dataclass(frozen=True, slots=True)
class ResolveResult:
    """New or changed `decisions`; items `disputed` by their reviewers or `escalated` by rule, both sent to an adjudicator;
    items whose answers are still `incomplete`. Of these, `asked_again` got all the answers that Label Studio asks for, which
    do not count (one person's second, one from outside the pool, one in quarantine, one that lacks what the tier asks for), or
    were returned by an adjudicator: they go into a next round. `added` ones
    have answers that agree too little, and get one more reviewer. `failed`
    items ended the process each time they were settled, and are set aside."""

    decisions: int = 0
    disputed: int = 0
    escalated: int = 0
    incomplete: int = 0
    asked_again: int = 0
    failed: int = 0
    added: int = 0


Weigh = Callable[[Tier, Item], Weighing | None]
"""What the answers to an item in a tier are weighed by."""


LessonOf = Callable[[Item], Known | None]
"""What is true of an item that somebody learns by."""


def resolve(
    store: StateStore,
    policy: ReviewPolicy,
    clock: Clock,
    weigh: Weigh | None = None,
    lessons: LessonOf = lambda item: None,
    *,
    dry_run: bool = False,
) -> ResolveResult:
    """Settles what changed since it was last settled. With `dry_run` says what would follow and writes nothing."""
    terms, now = _Terms(policy, weigh, lessons), clock.now()
    reviews = store.open_reviews()
    if not reviews:
        return ResolveResult()
    order = in_order(reviews, _subject, store.deaths(STEP))
    if not dry_run:
        _give_up(store, order.given_up, now)
    settled: list[Settled] = []
    for batch in order.batches:
        settled += _settled(batch, terms, now) if dry_run else _settle(store, batch, terms, now)
    return _counted(settled, failed=len(order.given_up))


@dataclass(frozen=True, slots=True)
class _Terms:
    policy: ReviewPolicy
    weigh: Weigh | None
    lessons: LessonOf

    def of(self, review: OpenReview) -> SettlePolicy:
        """How the item is settled."""
        route, settling = review.item.route, self.policy.settling(review.item, review.tasks)
        if self.weigh is None or route.tier == ADJUDICATION:
            return settling
        return replace(settling, weighing=self.weigh(self.policy.tier(route.tier), review.item))


def _settle(store: StateStore, reviews: Sequence[OpenReview], terms: _Terms, now: datetime) -> list[Settled]:
    with tried(store, STEP, [_subject(review) for review in reviews], now):
        settled = _settled(reviews, terms, now)
        store.record_settlements([_settlement(*pair) for pair in zip(reviews, settled, strict=True)], now)
    return settled


def _settled(reviews: Sequence[OpenReview], terms: _Terms, now: datetime) -> list[Settled]:
    return [_known(review, terms) if is_gold(review.item) else _judged(review, terms, now) for review in reviews]


def _judged(review: OpenReview, terms: _Terms, now: datetime) -> Settled:
    return settle(review.item, given(review), review.decision, terms.of(review), terms.policy.kind.same, now)


def _known(review: OpenReview, terms: _Terms) -> Settled:
    """Nothing is decided on what is known."""
    if not is_training(review.item):
        return settle_mixed_in(review.item, given(review), terms.policy.settling(review.item, review.tasks))
    known = terms.lessons(review.item)
    if known is None:
        return Settled(Agreement.AGREED, ItemState.WITHDRAWN, reason=ANSWERED)
    return settle_lesson(review.item, given(review), known, terms.policy.kind)


def given(review: OpenReview) -> Given:
    """Its answers, by what they were asked."""
    alike = asked_alike(review.item, review.tasks)
    earlier = tuple(each for each in review.earlier if each.push_key in alike)
    elsewhere, deleted = (tuple(each for each in some if each.push_key not in alike) for some in (review.earlier, review.deleted))
    return Given(review.annotations, earlier, elsewhere, deleted)


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
    added = sum(each.added for each in settled)
    return ResolveResult(made, counts["disputed"], counts["escalated"], counts["incomplete"], asked_again, failed, added)


def _kind(settled: Settled) -> str:
    if settled.escalated:
        return "escalated"
    return {Agreement.AGREED: "agreed", Agreement.DISPUTED: "disputed", Agreement.INCOMPLETE: "incomplete"}[settled.agreement]
