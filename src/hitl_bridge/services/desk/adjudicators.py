"""Adjudications that nobody may settle: whoever might has asked for it. They wait until the lead names somebody else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.review.handed_on import aside
from hitl_bridge.ports import OpenReview, StateStore
from hitl_bridge.services.sync.resolve import given


def nobody_settles(store: StateStore, policy: ReviewPolicy) -> Mapping[str, int]:
    """By pool, how many items wait for an adjudicator whom nobody there may be; reads alone."""
    return Counter(review.item.route.pool for review in store.adjudications() if _waits_for_nobody(review, policy))


def _waits_for_nobody(review: OpenReview, policy: ReviewPolicy) -> bool:
    eligible = policy.settling(review.item, review.tasks).eligible
    said = given(review)
    return aside(review.item, review.decision, said.elsewhere, said.deleted).leaves_nobody(eligible)
