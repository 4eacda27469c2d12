"""Audits with teeth: receipts are counted, lots judged by their audits, bad ones held, and drift watched.

It tightens alone and never loosens: a held lot stays held, a lowered threshold and a raised audit rate stay until a person says
otherwise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hitl_bridge.core.audits import drift
from hitl_bridge.core.audits.drift import DriftLook
from hitl_bridge.core.audits.lots import (
    Judged,
    Lot,
    LotFindings,
    LotPromise,
    LotVerdict,
    further_audits,
    judge,
    lot_of,
    threshold_that_kept,
)
from hitl_bridge.core.audits.reviewers import FAULTLESS, NOTHING, Bounds, ReviewerError, share_bounds, whole_misses
from hitl_bridge.core.audits.tightened import with_ceilings
from hitl_bridge.core.model import JSON
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.review.records import GoldMisses
from hitl_bridge.core.triage.plan import CLOSED
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import (
    CEILING,
    Blind,
    Clock,
    CountedFile,
    LotPart,
    LotRow,
    LotStore,
    RaisedRate,
    ReceiptTallies,
    ThresholdStore,
    UncountedFile,
)
from hitl_bridge.services.policy.thresholds import tighten

RAISED = 3.0
"""An alarm raises the audit rate so many times."""

KNOWN_FROM = 100
"""So many audits that found the model right tell how often reviewers raise false alarms; fewer tell nothing."""

GOLD_FROM = 50
"""So many blind answers to gold items that the model had wrong tell how often an error is missed; fewer tell nothing."""

LOOKED_BACK = timedelta(days=90)
"""So long after its end a lot is judged anew when an answer changes."""

_FILES_AT_ONCE = 200
"""What a cycle counts at most, so that it never keeps others waiting for long; the next one goes on."""

_DOUBT = 0.005
_REFERENCE_FILES = 500
_REFERENCE_MOST = 50_000


@dataclass(frozen=True, slots=True)
class LotPorts:
    """What judging lots needs. `settings_version` is that of the policy in the settings, without what is in force beside it;
    `gold` tells what items with a known answer say of misses."""

    store: LotStore
    tallies: ReceiptTallies
    thresholds: ThresholdStore
    clock: Clock
    settings_version: str
    gold: Callable[[], GoldMisses] = GoldMisses

    @property
    def reviewer_error(self) -> ReviewerError:
        """What is known now of how often a review errs."""
        return reviewer_error(self.store.blind(), self.gold())


@dataclass(frozen=True, slots=True)
class LotChange:
    """A lot whose verdict is another now. `tightened_to` is the threshold that this led to; None where nothing was to be
    tightened (another policy meanwhile, or as low already)."""

    lot_id: str
    verdict: LotVerdict
    tightened_to: float | None = None


@dataclass(frozen=True, slots=True)
class LotsResult:
    """`counted` files of receipts, lots whose verdict `changed`, and model versions in which drift raised an alarm. The webhook
    took the recall of those `recalled`; `troubles` say why not of others."""

    counted: int = 0
    changed: tuple[LotChange, ...] = ()
    alarms: tuple[str, ...] = ()
    recalled: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()

    @property
    def held(self) -> tuple[str, ...]:
        return tuple(each.lot_id for each in self.changed if each.verdict is LotVerdict.HELD)


def keep_lots(ports: LotPorts, policy: ReviewPolicy, *, judged_at: str | None = None) -> tuple[LotsResult, str]:
    """Counts what is new, looks for drift, and judges lots.

    Args:
        judged_at: the mark that the last call returned: where nothing has happened since, nothing is judged.

    Returns:
        What was done, and the mark up to which lots are judged.

    Raises:
        RefusedForSafety: receipts that the store counts on are missing.
    """
    files = ports.store.uncounted(_FILES_AT_ONCE)
    for file in files:
        _count(ports, policy, file)
    alarms = _watch(ports, policy) if files else ()
    mark = _mark(ports)
    changed = () if mark == judged_at else _judge_all(ports, policy)
    return LotsResult(len(files), changed, alarms), mark


def _mark(ports: LotPorts) -> str:
    now = ports.clock.now()
    return f"{ports.store.mark()}/{sum(lot.ends_at <= now for lot in ports.store.lots())}"


# ------------------------------------------------------------------------------------------------------------ counting


def _count(ports: LotPorts, policy: ReviewPolicy, file: UncountedFile) -> None:
    def lot(model_version: str, policy_version: str) -> Lot:
        return lot_of(model_version, policy_version, file.received_at, policy.audits.lot)

    below = {name: state.reference.below for name, state in ports.store.drift().items()}
    ports.store.record_counts(
        CountedFile(
            number=file.number,
            groups=[(lot(each.model_version, each.policy_version), each) for each in ports.tallies.groups(file.file)],
            drawn=[(lot(each.model_version, each.policy_version), each) for each in ports.tallies.drawn(file.file)],
            unsure=ports.tallies.unsure(file.file, below),
        )
    )


def _watch(ports: LotPorts, policy: ReviewPolicy) -> tuple[str, ...]:
    """Looks at every model version of which there is something new; returns those with an alarm."""
    now, states, alarms = ports.clock.now(), ports.store.drift(), []
    for name, state in states.items():
        if state.since >= drift.BLOCK:
            seen = drift.look(state.reference, state.since, state.since_low)
            ports.store.record_look(name, seen, _raised(ports, policy, name, seen, now), now)
            alarms += [name] if seen.alarm else []
    for name in sorted({lot.model_version for lot in ports.store.lots()} - set(states)):
        confidences = ports.tallies.confidences(ports.store.files_with(name, _REFERENCE_FILES), name, _REFERENCE_MOST)
        if len(confidences) >= drift.REFERENCE:
            ports.store.record_reference(name, drift.reference_of(confidences), now)
    return tuple(alarms)


def _raised(ports: LotPorts, policy: ReviewPolicy, name: str, seen: DriftLook, now: datetime) -> RaisedRate | None:
    known = ports.store.audit_rate()
    if not seen.alarm or (known is not None and known.rate is not None):
        return None
    share = seen.low / seen.items
    reason = f"{name} was unsure of {share:.1%} of {seen.items:,} items, far more than usual"
    return RaisedRate(min(1.0, RAISED * policy.plan.audit_rate), reason, "bridge", now)


# ------------------------------------------------------------------------------------------------------------- judging


def _judge_all(ports: LotPorts, policy: ReviewPolicy) -> tuple[LotChange, ...]:
    promise = policy.lot_promise
    if promise is None:
        return ()
    now, known, reviewers = ports.clock.now(), ports.store.verdicts(), ports.reviewer_error
    held = {name for name, row in known.items() if row.verdict is LotVerdict.HELD}
    lots = [lot for lot in ports.store.lots() if lot.lot_id not in held and lot.ends_at > now - LOOKED_BACK]
    parts, changed = parts_of_lots(ports.store.parts([lot.lot_id for lot in lots])), []
    for lot in lots:
        findings = findings_of(parts.get(lot.lot_id, ()), closed=lot.ends_at <= now)
        change = _judge(ports, policy, lot, findings, (promise, reviewers, known.get(lot.lot_id)))
        changed += [change] if change else []
    return tuple(changed)


def _judge(
    ports: LotPorts, policy: ReviewPolicy, lot: Lot, findings: LotFindings, terms: tuple[LotPromise, ReviewerError, LotRow | None]
) -> LotChange | None:
    promise, reviewers, before = terms
    judged = judge(findings, promise, reviewers)
    if judged.verdict is (before.verdict if before else None) or (not before and not _is_news(judged, findings)):
        return None
    now = ports.clock.now()
    figures = judged_figures(judged, further_audits(judged, promise, reviewers))
    held = judged.verdict is LotVerdict.HELD
    tightened = _tighten(ports, policy, lot, findings, (promise, reviewers)) if held else None
    if tightened is not None and not policy.budget.decides:
        figures |= {CEILING: tightened, "settings_version": ports.settings_version}
    ports.store.record_verdict(LotRow(lot, judged.verdict, figures, now), recall=held)
    return LotChange(lot.lot_id, judged.verdict, tightened)


def _is_news(judged: Judged, findings: LotFindings) -> bool:
    """That a lot which still fills is unproven goes without saying; and so does that of one with nothing approved."""
    return judged.verdict is not LotVerdict.UNPROVEN or (findings.closed and judged.error.items > 0)


def _tighten(
    ports: LotPorts, policy: ReviewPolicy, lot: Lot, findings: LotFindings, terms: tuple[LotPromise, ReviewerError]
) -> float | None:
    """Before the verdict is written: after a crash between the two the lot is held all the same by the next cycle.

    A threshold that was set by hand is lowered until somebody sets another policy in `hitl.yaml`.
    """
    if lot.policy_version != policy.plan.policy_version:
        return None
    promise, reviewers = terms
    kept = threshold_that_kept(ports.store.risks_of(lot.lot_id), findings, promise, reviewers)
    lower = CLOSED if kept is None else kept
    if not policy.budget.decides:
        return lower if with_ceilings(policy.plan, {lot.model_version: lower}) != policy.plan else None
    row = tighten(ports.thresholds, ports.clock, lot.model_version, lower, reason=f"lot {lot.lot_id} is held")
    return None if row is None else lower


# ---------------------------------------------------------------------------------------------- what the report shares


def parts_of_lots(parts: Collection[LotPart]) -> Mapping[str, list[LotPart]]:
    by_lot: dict[str, list[LotPart]] = defaultdict(list)
    for part in parts:
        by_lot[part.lot_id].append(part)
    return by_lot


def findings_of(parts: Sequence[LotPart], *, closed: bool) -> LotFindings:
    return LotFindings([part.stratum for part in parts], sum(part.traffic for part in parts), closed)


def reviewer_error(blind: Blind, gold: GoldMisses = GoldMisses()) -> ReviewerError:  # noqa: B008  (frozen)
    """What adjudications and gold items tell: of the audits in which the model was right, how many first answers had said
    otherwise; of blind answers to items that the model is known to have wrong, how many said what it says.

    A false alarm gets through only if the adjudicator errs as well; adjudicators are taken to err no more often than
    reviewers. What is not known is taken as 0.
    """
    alarm, miss, doubt = NOTHING, NOTHING, 0.0
    if blind.right >= KNOWN_FROM:
        errs, doubt = share_bounds(blind.alarms, blind.right, 2 * _DOUBT), _DOUBT
        alarm = Bounds(0.0, errs.high**2, errs.best**2)
    if gold.answers >= GOLD_FROM:
        miss, doubt = whole_misses(gold.missed, gold.answers, _DOUBT), doubt + _DOUBT
    return ReviewerError(alarm, miss, doubt) if doubt else FAULTLESS


def judged_figures(judged: Judged, further: int | None) -> dict[str, JSON]:
    error = judged.error
    return {
        "error": error.value,
        "low": error.low,
        "high": error.high,
        "budget": judged.budget,
        "items": error.items,
        "audits": error.audits,
        "wrong": error.wrong,
        "waiting": error.waiting,
        "unmeasured": error.unmeasured,
        "further_audits": further,
    }


def lower_audit_rate(ports: LotPorts, *, by: str, reason: str) -> RaisedRate:
    """A person has looked into an alarm. Raises UsageError where the rate is not raised."""
    known = ports.store.audit_rate()
    if known is None or known.rate is None:
        raise UsageError("The audit rate is not raised.", remedy="`hitl-bridge audit report` tells which rate is in force.")
    row = RaisedRate(None, reason, by, ports.clock.now())
    ports.store.lower_audit_rate(row)
    return row
