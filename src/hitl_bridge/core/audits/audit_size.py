"""How many audits a lot needs, before and after it was audited."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from hitl_bridge.core.audits.audited import AutoError, CountTest, Stratum, first
from hitl_bridge.core.audits.reviewers import FAULTLESS, ReviewerError


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """How many of a lot's items to audit (`audits`, on average), each with which `probability`, and how likely a lot is then
    held if it is bad and proven if it is good."""

    audits: int
    probability: float
    held: float
    proven: float


@dataclass(frozen=True, slots=True)
class Wish:
    """A lot with the error `bad` is to be held with probability ≥ `held`, one with the error `good` proven with ≥ `proven`."""

    bad: float
    good: float
    held: float = 0.95
    proven: float = 0.8


def planned_audits(
    items: int, budget: float, wish: Wish, confidence: float = 0.95, reviewers: ReviewerError = FAULTLESS
) -> AuditPlan | None:
    """The fewest audits of a lot of `items` with which the wish comes true when the lot is closed; None if not even looking at
    every item would do. Reviewers are taken to err as is most likely, and to be known as the bounds say."""
    if items < 1:
        return None

    def at(audits: int) -> AuditPlan:
        return AuditPlan(audits, audits / items, *_powers(items, audits / items, budget, wish, (confidence, reviewers)))

    def enough(plan: AuditPlan) -> bool:
        return plan.held >= wish.held and plan.proven >= wish.proven

    found = first(1, items + 1, lambda audits: audits > items or enough(at(audits)))
    return None if found > items else at(found)


def _powers(items: int, probability: float, budget: float, wish: Wish, terms: tuple[float, ReviewerError]) -> tuple[float, float]:
    """P(held | bad), P(proven | good) with one look, at the end."""
    from scipy.stats import binom

    confidence, reviewers = terms
    limit = floor(budget * items)

    def test(found: int) -> CountTest:
        return CountTest.of([Stratum(probability, items, wrong=found)], confidence, reviewers, closed=True)

    likely = int(4 * items * probability * budget) + 100  # far more found than could leave anything open
    most_proven = first(0, likely, lambda found: not test(found).is_too_many(limit + 1)) - 1
    least_held = first(0, likely, lambda found: test(found).is_too_few(limit))
    alarm, miss = reviewers.false_alarm.best, reviewers.miss.best
    bad, good = (round(items * (error * (1 - miss) + (1 - error) * alarm)) for error in (wish.bad, wish.good))
    return float(binom.sf(least_held - 1, bad, probability)), float(binom.cdf(most_proven, good, probability))


def audits_to_settle(
    error: AutoError, budget: float, confidence: float = 0.95, reviewers: ReviewerError = FAULTLESS
) -> int | None:
    """About how many audits more would settle, four times in five, what `error` leaves open, if the error is what it seems to
    be (half the budget where nothing is seen yet). None if looking at everything would not."""
    seems = budget / 2 if error.value is None else error.value
    wish = Wish(bad=1.0, good=seems, held=0.0) if seems <= budget else Wish(bad=seems, good=0.0, held=0.8, proven=0.0)
    plan = planned_audits(error.items, budget, wish, confidence, reviewers)
    return None if plan is None else max(1, plan.audits - error.audits - error.waiting)
