"""What happens when nobody has finished an item in time: it is told, it goes to an adjudicator, the lead is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from hitl_bridge.core.model import ADJUDICATION, Item, ItemState, Purpose
from hitl_bridge.core.review.handed_on import to_adjudicator
from hitl_bridge.core.routing import Tier

LATE = "Nobody has finished this item in time."


class Step(StrEnum):
    """OVERDUE: its deadline has passed. ADJUDICATOR: it is taken to one. LEAD: an adjudicator's own deadline has passed."""

    OVERDUE = "overdue"
    ADJUDICATOR = "adjudicator"
    LEAD = "lead"


@dataclass(frozen=True, slots=True)
class Escalation:
    """A step that is due for the present round of `item`; `next_round` where it opens one."""

    item: Item
    step: Step
    next_round: Item | None = None


@dataclass(frozen=True, slots=True)
class Ladder:
    """The tiers, and within what time an adjudicator answers."""

    tiers: Mapping[str, Tier]
    adjudication_sla: timedelta


def due_steps(item: Item, ladder: Ladder, taken: Collection[Step], now: datetime) -> list[Escalation]:
    """The steps that are due and were not taken in this round. What nobody has been asked yet is not late.

    A blind item stays with its reviewers, however late: an adjudicator sees all there is.
    """
    if item.state not in (ItemState.PUSHED, ItemState.ANSWERED):
        return []
    late = now >= item.route.due_at
    if item.route.tier == ADJUDICATION:
        return [Escalation(item, Step.LEAD)] if late and Step.LEAD not in taken else []
    found = [Escalation(item, Step.OVERDUE)] if late and Step.OVERDUE not in taken else []
    tier = ladder.tiers.get(item.route.tier)
    if tier is None or tier.escalate_after is None or item.triage.purpose is not Purpose.REVIEW:
        return found
    asked_at = item.route.due_at - tier.sla
    if now >= asked_at + tier.escalate_after:
        found.append(Escalation(item, Step.ADJUDICATOR, to_adjudicator(item, now + ladder.adjudication_sla, LATE)))
    return found
