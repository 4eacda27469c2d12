"""Items whose answers changed are settled: decided, sent into the next round, or left waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hitl_bridge.core.model import Agreement, Op
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.review.settle import Settled, settle
from hitl_bridge.ports import Clock, OpenReview, Settlement, StateStore


@dataclass(frozen=True, slots=True)
class ResolveResult:
    """New or changed `decisions`; items `disputed` by their reviewers or `escalated` by rule, both sent to an adjudicator;
    items whose answers are still `incomplete`. Of these, `asked_again` got all the answers that Label Studio asks for, which
    do not count (one person's second, one from outside the pool, one in quarantine): they go into a next round."""

    decisions: int = 0
    disputed: int = 0
    escalated: int = 0
    incomplete: int = 0
    asked_again: int = 0


def resolve(store: StateStore, policy: ReviewPolicy, clock: Clock, *, dry_run: bool = False) -> ResolveResult:
    """Settles what changed since it was last settled. With `dry_run` says what would follow and writes nothing."""
    now = clock.now()
    reviews = store.open_reviews()
    settled = [
        settle(each.item, each.annotations, each.decision, policy.settling(each.item), policy.kind.same, now) for each in reviews
    ]
    if not dry_run:
        store.record_settlements([_settlement(*pair) for pair in zip(reviews, settled, strict=True)], now)
    return _counted(settled)


def _settlement(review: OpenReview, settled: Settled) -> Settlement:
    return Settlement(
        item_id=review.item.item_id,
        revision=review.item.revision,
        state=settled.state,
        decision=settled.decision,
        next_round=settled.next_round,
        event=settled.reason,
    )


def _counted(settled: Sequence[Settled]) -> ResolveResult:
    counts = Counter(_kind(each) for each in settled)
    made = sum(each.decision is not None and each.decision.op is not Op.REMOVE for each in settled)
    asked_again = sum(each.asked_again for each in settled)
    return ResolveResult(made, counts["disputed"], counts["escalated"], counts["incomplete"], asked_again)


def _kind(settled: Settled) -> str:
    if settled.escalated:
        return "escalated"
    return {Agreement.AGREED: "agreed", Agreement.DISPUTED: "disputed", Agreement.INCOMPLETE: "incomplete"}[settled.agreement]
