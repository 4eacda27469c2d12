"""Items that nobody has finished in time: each step of the ladder is taken once, whoever asks and however often."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.review.escalation import Ladder, Step, due_steps
from hitl_bridge.ports import Clock, EscalationStore


@dataclass(frozen=True, slots=True)
class EscalateResult:
    """Items that became `overdue`, that were taken `to_adjudicator`, and of which the lead has to hear (`to_lead`)."""

    overdue: int = 0
    to_adjudicator: int = 0
    to_lead: int = 0


def escalate(store: EscalationStore, policy: ReviewPolicy, clock: Clock) -> EscalateResult:
    """Takes every step that is due."""
    now, ladder = clock.now(), Ladder(policy.tiers, policy.adjudication_sla)
    early = {name: tier.sla - tier.escalate_after for name, tier in policy.tiers.items() if tier.escalate_after is not None}
    late = store.due_by(now + max([timedelta(0), *early.values()]), early)
    taken = store.taken(late) if late else {}
    due = [
        each
        for item in late
        for each in due_steps(item, ladder, taken.get((item.item_id, item.revision, item.round), frozenset()), now)
    ]
    if not due or not store.record(due, now):
        return EscalateResult()
    counts = Counter(each.step for each in due)
    return EscalateResult(counts[Step.OVERDUE], counts[Step.ADJUDICATOR], counts[Step.LEAD])
