"""Lots: what was approved without a look in a period by one model and one policy, judged together by its audits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from math import floor
from typing import Literal

from hitl_bridge.core.audits.audit_size import audits_to_settle
from hitl_bridge.core.audits.audited import AutoError, CountTest, Stratum, auto_error
from hitl_bridge.core.audits.reviewers import FAULTLESS, ReviewerError

_A_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
"""Where periods are counted from: weeks begin on Mondays, days at midnight UTC."""

Of = Literal["all", "approved"]


@dataclass(frozen=True, slots=True)
class AuditTerms:
    """How long a lot takes, which share of its items may be wrong (None: what the error budget comes to), and who is told at
    once when a lot is held (None: nobody)."""

    lot: timedelta = timedelta(days=7)
    lot_budget: float | None = None
    recall_webhook: str | None = None


class LotVerdict(StrEnum):
    """HELD: more of it is wrong than the budget allows. PROVEN: no more is. UNPROVEN: the audits do not say yet."""

    PROVEN = "proven"
    UNPROVEN = "unproven"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Lot:
    """The auto-approved items of one model version and policy version that came in between two moments."""

    lot_id: str
    model_version: str
    policy_version: str
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class LotPromise:
    """What a lot has to keep: a share `budget` of all traffic (`of: all`) or of the approved items themselves, wrong and
    approved, with this confidence."""

    budget: float
    of: Of = "all"
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class LotFindings:
    """What is known of a lot: its strata, the traffic (approved or not) of the same model, policy and period, and whether
    nothing more will come to it."""

    strata: Sequence[Stratum]
    traffic: int
    closed: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """`allowed` of the approved items may be wrong, as a share of them: `budget`."""

    verdict: LotVerdict
    error: AutoError
    budget: float
    allowed: int


def promise_of(terms: AuditTerms, error_budget: float | None, of: Of, confidence: float) -> LotPromise | None:
    """What the settings promise of a lot; None where they promise nothing: then lots are measured and not judged."""
    if terms.lot_budget is not None:
        return LotPromise(terms.lot_budget, "approved", confidence)
    return None if error_budget is None else LotPromise(error_budget, of, confidence)


def lot_of(model_version: str, policy_version: str, at: datetime, length: timedelta) -> Lot:
    """The lot that an item belongs to which came in at that moment."""
    starts_at = _A_MONDAY + (at - _A_MONDAY) // length * length
    parts = "\x1f".join((model_version, policy_version, starts_at.isoformat(), str(length.total_seconds())))
    lot_id = f"{starts_at:%Y-%m-%d}-{hashlib.sha256(parts.encode()).hexdigest()[:8]}"
    return Lot(lot_id, model_version, policy_version, starts_at, starts_at + length)


def budget_of_approved(promise: LotPromise, approved: int, traffic: int) -> float:
    """The share of the approved items that may be wrong.

    Of all traffic B may be approved and wrong; where only a share s of it was approved, B/s of that share may be.
    """
    if promise.of == "approved" or not approved:
        return promise.budget
    return min(1.0, promise.budget * traffic / approved)


def judge(findings: LotFindings, promise: LotPromise, reviewers: ReviewerError = FAULTLESS) -> Judged:
    """Holds a lot at the first sign that is sure enough; calls it proven only when it is closed, for then it is whole.

    Items that could not be drawn count as right against holding it and as wrong against proving it.
    """
    error = auto_error(findings.strata, promise.confidence, reviewers, closed=findings.closed)
    approved = error.items + error.unmeasured
    budget = budget_of_approved(promise, approved, findings.traffic)
    allowed = floor(budget * approved + 1e-9)
    if round(error.low * error.items) > allowed:
        return Judged(LotVerdict.HELD, error, budget, allowed)
    proven = findings.closed and round(error.high * error.items) + error.unmeasured <= allowed
    return Judged(LotVerdict.PROVEN if proven else LotVerdict.UNPROVEN, error, budget, allowed)


def further_audits(judged: Judged, promise: LotPromise, reviewers: ReviewerError = FAULTLESS) -> int | None:
    """How many audits more would settle an unproven lot, about; None where it is settled, or where looking at every item
    that can be drawn would not settle it."""
    error = judged.error
    left = judged.allowed - error.unmeasured
    if judged.verdict is not LotVerdict.UNPROVEN or left <= 0 or not error.items:
        return None
    return audits_to_settle(error, left / error.items, promise.confidence, reviewers)


def threshold_that_kept(
    risks: Sequence[tuple[float, bool]], findings: LotFindings, promise: LotPromise, reviewers: ReviewerError = FAULTLESS
) -> float | None:
    """The highest risk up to which the lot's own audits show that its promise would have been kept; None if at no risk.

    What is approved up to a risk and wrong can only grow with the risk, so the bound along the ranking is one test (Bates,
    Angelopoulos, Lei, Malik & Jordan, "Distribution-free, risk-controlling prediction sets", 2021).

    Args:
        risks: of the drawn items by rising risk, and whether each is not known to be right.
    """
    known = [each for each in findings.strata if each.probability > 0]
    if not known or not risks:
        return None
    rate, items = min(each.probability for each in known), sum(each.items for each in known)
    wrong, kept = 0, None
    for place, (risk, is_wrong) in enumerate(risks):
        wrong += is_wrong
        scope = findings.traffic if promise.of == "all" else items * (place + 1) / len(risks)
        test = CountTest.of([Stratum(rate, items, wrong=wrong)], promise.confidence, reviewers, closed=True)
        if not test.is_too_many(floor(promise.budget * scope + 1e-9) + 1):
            if promise.of == "all":
                break
            continue
        kept = risk if place + 1 == len(risks) or risks[place + 1][0] > risk else kept
    return kept
