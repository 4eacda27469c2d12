"""What audits tell: the auto tier's error, lot by lot and scenario by scenario, the whole traffic's accuracy, and drift."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hitl_bridge.core.audits.audited import AutoError, Stratum, auto_error
from hitl_bridge.core.audits.lots import Lot, LotVerdict, further_audits, judge
from hitl_bridge.core.audits.reviewers import Bounds, ReviewerError, share_bounds
from hitl_bridge.core.audits.traffic import Accuracy, Looked, whole_accuracy
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.review.records import GoldMisses
from hitl_bridge.ports import Blind, DriftState, LookedAt, LotPart, LotRow, RaisedRate, Recall
from hitl_bridge.services.audits.lots import GOLD_FROM, KNOWN_FROM, LotPorts, findings_of, parts_of_lots, reviewer_error

NOT_KNOWN = "not known, taken as 0"


@dataclass(frozen=True, slots=True)
class LotLine:
    """A lot as it stands now, with the verdict of the last cycle; `budget` is the share of its items that may be wrong, None
    where nothing is promised."""

    lot: Lot
    verdict: LotVerdict | None
    closed: bool
    error: AutoError
    budget: float | None
    further_audits: int | None
    recalled_at: datetime | None
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True)
class ScenarioLine:
    scenario: str | None
    error: AutoError


@dataclass(frozen=True, slots=True)
class ReviewersLine:
    """Of `right` audits in which the model was right, `alarms` first answers said otherwise and an adjudicator took them back:
    how often a reviewer errs (`errs`, None where too few are known). `false_alarm` and `miss` are what that makes of a whole
    review and what is allowed for in every figure; `says` is that in words."""

    right: int
    alarms: int
    errs: Bounds | None
    false_alarm: Bounds
    miss: Bounds
    says: str


@dataclass(frozen=True, slots=True)
class DriftLine:
    """`usual` is the share of items in which the model was unsure when it was new, `last` that of the last look."""

    model_version: str
    usual: float
    reference_items: int
    last: float | None
    last_items: int
    p_value: float | None
    alarm: bool
    at: datetime | None


@dataclass(frozen=True, slots=True)
class AuditPicture:
    """Everything that audits tell now. `overall` and `scenarios` take all lots together; `accuracy` is of the whole traffic,
    None with fewer than two blind looks; `waiting` blind looks are not decided. `raised` is the audit rate in place of the
    settings' own."""

    confidence: float
    overall: AutoError
    scenarios: tuple[ScenarioLine, ...]
    lots: tuple[LotLine, ...]
    accuracy: Accuracy | None
    waiting: int
    reviewers: ReviewersLine
    drift: tuple[DriftLine, ...]
    audit_rate: float
    raised: RaisedRate | None

    @property
    def held(self) -> tuple[str, ...]:
        return tuple(line.lot.lot_id for line in self.lots if line.verdict is LotVerdict.HELD)


def audit_picture(ports: LotPorts, policy: ReviewPolicy) -> AuditPicture:
    """Reads how things stand; judges and writes nothing. What no cycle has counted yet is not in it."""
    parts, blind, looked = ports.store.parts(), ports.store.blind(), ports.store.looked_at()
    gold, confidence = ports.gold(), policy.budget.confidence
    reviewers = reviewer_error(blind, gold)
    rate = ports.store.audit_rate()
    return AuditPicture(
        confidence=confidence,
        overall=auto_error(_together(parts), confidence, reviewers),
        scenarios=_by_scenario(parts, confidence, reviewers),
        lots=_lots(ports, policy, parts, reviewers),
        accuracy=_accuracy(looked, confidence),
        waiting=looked.waiting,
        reviewers=_reviewers(blind, reviewers, _misses(gold, reviewers)),
        drift=tuple(_drift(state) for _, state in sorted(ports.store.drift().items())),
        audit_rate=policy.plan.audit_rate,
        raised=rate if rate is not None and rate.rate is not None else None,
    )


def _together(parts: Sequence[LotPart]) -> list[Stratum]:
    """Strata of the same probability as one."""
    sums: dict[float, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for stratum in (part.stratum for part in parts):
        counts = (stratum.items, stratum.right, stratum.wrong, stratum.waiting)
        sums[stratum.probability] = [a + b for a, b in zip(sums[stratum.probability], counts, strict=True)]
    return [Stratum(probability, *counts) for probability, counts in sorted(sums.items())]


def _by_scenario(parts: Sequence[LotPart], confidence: float, reviewers: ReviewerError) -> tuple[ScenarioLine, ...]:
    """None where there is but one: it would say the same as all."""
    by_name: dict[str | None, list[LotPart]] = defaultdict(list)
    for part in parts:
        by_name[part.scenario].append(part)
    if len(by_name) < 2:
        return ()
    named = sorted(by_name.items(), key=lambda pair: (pair[0] is None, pair[0] or ""))
    return tuple(ScenarioLine(name, auto_error(_together(some), confidence, reviewers)) for name, some in named)


def _lots(ports: LotPorts, policy: ReviewPolicy, parts: Sequence[LotPart], reviewers: ReviewerError) -> tuple[LotLine, ...]:
    now, by_lot, known = ports.clock.now(), parts_of_lots(parts), ports.store.verdicts()
    recalls = {recall.lot_id: recall for recall in ports.store.recalls()}
    lines = []
    for lot in ports.store.lots():
        some, row = by_lot.get(lot.lot_id, []), known.get(lot.lot_id)
        if any(part.stratum.items for part in some):
            lines.append(_line(lot, some, policy, (reviewers, row, recalls.get(lot.lot_id), lot.ends_at <= now)))
    return tuple(lines)


def _line(
    lot: Lot, parts: Sequence[LotPart], policy: ReviewPolicy, known: tuple[ReviewerError, LotRow | None, Recall | None, bool]
) -> LotLine:
    reviewers, row, recall, closed = known
    findings, promise = findings_of(parts, closed=closed), policy.lot_promise
    recalled = (None, None) if recall is None else (recall.at, recall.delivered_at)
    if promise is None:
        error = auto_error(findings.strata, policy.budget.confidence, reviewers, closed=closed)
        return LotLine(lot, None, closed, error, None, None, *recalled)
    judged = judge(findings, promise, reviewers)
    verdict = LotVerdict.UNPROVEN if row is None else row.verdict
    further = further_audits(judged, promise, reviewers) if verdict is LotVerdict.UNPROVEN else None
    return LotLine(lot, verdict, closed, judged.error, judged.budget, further, *recalled)


def _accuracy(looked: LookedAt, confidence: float) -> Accuracy | None:
    import numpy as np

    columns = Looked(np.array(looked.probability), np.array(looked.risk), np.array(looked.wrong, dtype=float))
    return whole_accuracy(looked.items, looked.total_risk, columns, confidence)


def _misses(gold: GoldMisses, allowed: ReviewerError) -> str:
    if gold.answers < GOLD_FROM:
        return f"misses: {NOT_KNOWN} ({gold.answers} blind answers to gold items that the model had wrong, {GOLD_FROM} needed)"
    return (
        f"misses: {gold.missed} of {gold.answers} wrong answers of the model were given blind as well, on gold items; up to"
        f" {allowed.miss.high:.1%} are allowed for"
    )


def _reviewers(blind: Blind, allowed: ReviewerError, misses: str) -> ReviewersLine:
    if blind.right < KNOWN_FROM:
        says = f"false alarms: {NOT_KNOWN} ({blind.right} audits that found the model right, {KNOWN_FROM} needed); {misses}"
        return ReviewersLine(blind.right, blind.alarms, None, allowed.false_alarm, allowed.miss, says)
    errs = share_bounds(blind.alarms, blind.right, 0.05)
    says = (
        f"reviewers called {blind.alarms} of {blind.right:,} right answers wrong ({errs.low:.1%} to {errs.high:.1%}); with"
        f" adjudicators who err no more often, at most {allowed.false_alarm.high:.2%} of the right ones count as wrong;"
        f" {misses}"
    )
    return ReviewersLine(blind.right, blind.alarms, errs, allowed.false_alarm, allowed.miss, says)


def _drift(state: DriftState) -> DriftLine:
    last = state.last
    return DriftLine(
        model_version=state.model_version,
        usual=state.reference.share,
        reference_items=state.reference.items,
        last=None if last is None else last.low / last.items,
        last_items=0 if last is None else last.items,
        p_value=None if last is None else last.p_value,
        alarm=last is not None and last.alarm,
        at=state.last_at,
    )
