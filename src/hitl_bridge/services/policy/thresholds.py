"""Thresholds from the error budget: reads what people said of the uniform stream, calibrates, chooses, and records it.

What lets through no more than before is in force at once; what lets through more waits for a person. So the thresholds in
force are never looser than what the judged items bear, whatever day one looks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hitl_bridge.core import draws
from hitl_bridge.core.budget.budget_policy import plan_in_force
from hitl_bridge.core.budget.calibrating import FIT_SHARE, Reliability, fit, reliability
from hitl_bridge.core.budget.choosing import Choice, Outlook, Verdicts, by_hand, choose_thresholds
from hitl_bridge.core.budget.error_budget import NEVER, Figures
from hitl_bridge.core.model import JSON, Outcome
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.triage.calibration import Calibration, Numbers, Scored, risks, scored
from hitl_bridge.core.triage.plan import CLOSED, Threshold, TriagePlan
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import (
    CalibrationItem,
    CalibrationRow,
    Clock,
    Standing,
    ThresholdRow,
    ThresholdStore,
    TriageEngine,
)
from hitl_bridge.services.policy.calibration_items import cohort, digest, predictions_of

_HIGHEST = 1.0
"""What was never judged costs the most that an error may cost."""

FIT_AGAIN = 2
"""A calibration is fitted anew when there are twice the items it was fitted on."""


Places: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ThresholdPorts:
    """What choosing needs. `plan` is that of the settings alone, without what is in force."""

    store: ThresholdStore
    engine: TriageEngine
    clock: Clock
    key: bytes
    plan: TriagePlan


@dataclass(frozen=True, slots=True)
class ModelThresholds:
    """How one model version stands.

    `judged` items choose the threshold, `fitted_on` others the calibration; `waiting` are not decided and in time, or come later,
    `counted_wrong` are overdue or could not be judged, and count as errors. `in_force` is what decides today
    (`in_force_because`: by whom and why; None where nothing ever was), `choice` what the items say now, `did` what became of
    it: nothing, chosen, proposed; `proposal` is what waits for a person.
    """

    model_version: str
    judged: int
    fitted_on: int
    waiting: int
    counted_wrong: int
    calibration: Calibration
    before: Reliability
    after: Reliability
    in_force: tuple[Threshold, ...]
    in_force_because: str | None
    choice: Choice
    proposal: ThresholdRow | None
    did: str = "nothing"


@dataclass(frozen=True, slots=True)
class ThresholdsResult:
    """`by` is `budget` or `hand`; `hand_set` the number of the settings where it is by hand (None: no auto tier)."""

    by: str
    terms: Mapping[str, JSON]
    hand_set: float | None
    models: tuple[ModelThresholds, ...]

    @property
    def did_something(self) -> bool:
        return any(model.did != "nothing" for model in self.models)


def show(ports: ThresholdPorts, policy: ReviewPolicy) -> ThresholdsResult:
    """What is in force and what the judged items say now. Writes nothing."""
    return _Chooser(ports, policy, dry_run=True, force=True).result()


def choose(ports: ThresholdPorts, policy: ReviewPolicy, *, dry_run: bool = False, force: bool = False) -> ThresholdsResult:
    """Chooses thresholds for every model version that has calibration items, and records what is new.

    Args:
        force: also where the items are those of the last time.
    """
    return _Chooser(ports, policy, dry_run=dry_run, force=force).result()


@dataclass(frozen=True, slots=True)
class _Chooser:
    ports: ThresholdPorts
    policy: ReviewPolicy
    dry_run: bool
    force: bool

    def result(self) -> ThresholdsResult:
        by_version: dict[str, list[CalibrationItem]] = {}
        for each in self.ports.store.calibration_items():
            by_version.setdefault(each.item.prediction.model_version, []).append(each)
        rows = {row.model_version: row for row in self.ports.store.in_force()}
        proposals = {row.model_version: row for row in self.ports.store.proposals()}
        found = [self._model(name, there, rows, proposals.get(name)) for name, there in sorted(by_version.items())]
        auto = next((tier for tier in self.ports.plan.tiers if tier.name == self.ports.plan.auto_tier), None)
        decides = self.policy.budget.decides
        return ThresholdsResult(
            by="budget" if decides else "hand",
            terms=self.policy.budget.terms,
            hand_set=None if decides or auto is None else auto.max_risk,
            models=tuple(model for model in found if model is not None),
        )

    def _model(
        self, name: str, there: Sequence[CalibrationItem], rows: Mapping[str, ThresholdRow], proposal: ThresholdRow | None
    ) -> ModelThresholds | None:
        ports, now = self.ports, self.ports.clock.now()
        gathered = cohort(there, ports.key, now)
        known = rows.get(name)
        newest = proposal or known
        if not self.force and newest is not None and not self._is_due(newest, len(gathered.items)):
            return None
        seen = _Seen(gathered.items, ports.key, self.policy)
        fitting, rest = np.flatnonzero(seen.fitted), np.flatnonzero(~seen.fitted)
        row = self._calibration(name, seen, fitting, newest, now)
        measured_by = row.calibration if self.policy.budget.decides else _today(name, known)
        choice = self._choice(name, seen.verdicts(self._risks(seen, {name: measured_by}), measured_by))
        state = ModelThresholds(
            model_version=name,
            judged=len(rest),
            fitted_on=len(fitting),
            waiting=gathered.waiting,
            counted_wrong=gathered.counted_wrong,
            calibration=row.calibration,
            before=reliability(seen.scored.confidences[rest], seen.right[rest]),
            after=reliability(1 - risks(row.calibration, seen.scored.take(rest)), seen.right[rest]),
            in_force=known.thresholds if known is not None and self._holds(known) else (),
            in_force_because=None if known is None else f"{known.standing} by {known.by}: {known.reason}",
            choice=choice,
            proposal=proposal,
        )
        return self._recorded(state, row, seen, rows, now)

    def _is_due(self, newest: ThresholdRow, items: int) -> bool:
        return items > newest.items or newest.terms != self.policy.budget.terms

    def _holds(self, row: ThresholdRow) -> bool:
        return self.policy.budget.decides and self.policy.budget.is_kept_by(row.terms)

    def _calibration(self, name: str, seen: _Seen, fitting: Places, newest: ThresholdRow | None, now: datetime) -> CalibrationRow:
        """The one that was fitted before, until there are twice as many items to fit on."""
        known = None if newest is None or newest.calibration is None else self.ports.store.calibration_row(newest.calibration)
        if known is not None and len(fitting) < FIT_AGAIN * known.items:
            return known
        fitted = fit(name, seen.scored.take(fitting), seen.right[fitting])
        calibration = fitted.calibration if self.policy.kind.exclusive else fitted.calibration.by_confidence
        figures: dict[str, JSON] = {"cross_validated_brier": dict(fitted.scores)}
        used = [seen.items[place].item for place in fitting.tolist()]
        return CalibrationRow(calibration, len(fitting), digest(self.ports.key, used), figures, now)

    def _risks(self, seen: _Seen, calibrations: Mapping[str, Calibration]) -> Numbers:
        """As triage itself computes them; NEVER for what a rule sends to people."""
        plan = replace(self.ports.plan, calibrations=calibrations, thresholds=())
        receipts = self.ports.engine.triage(predictions_of(seen.items, self.policy.kind), plan, self.ports.key)
        ruled = np.array([each is not None for each in receipts["rule"].to_pylist()], dtype=bool)
        computed = np.array(receipts["risk"].to_pylist(), dtype=np.float64)
        return np.where(ruled, NEVER, computed)

    def _choice(self, name: str, verdicts: Verdicts) -> Choice:
        budget = self.policy.budget
        if budget.decides:
            return choose_thresholds(name, verdicts, budget)
        auto = next((tier.max_risk for tier in self.ports.plan.tiers if tier.name == self.ports.plan.auto_tier), CLOSED)
        return by_hand(verdicts, auto, budget.confidence)

    def _recorded(
        self, state: ModelThresholds, calibration: CalibrationRow, seen: _Seen, rows: Mapping[str, ThresholdRow], now: datetime
    ) -> ModelThresholds:
        row = ThresholdRow(
            model_version=state.model_version,
            standing=Standing.CHOSEN,
            calibration=state.calibration,
            thresholds=state.choice.thresholds,
            terms=self.policy.budget.terms,
            figures=_figures(state),
            items=len(seen.items),
            items_digest=digest(self.ports.key, [each.item for each in seen.items]),
            by="bridge",
            reason="chosen from the judged items of the uniform stream",
            at=now,
        )
        newest = state.proposal or rows.get(state.model_version)
        if _says_nothing_new(row, newest, by_hand=not self.policy.budget.decides):
            return state
        if self._loosens(row, rows, seen):
            row = replace(row, standing=Standing.PROPOSED, reason="lets through more than what is in force: a person decides")
        if not self.dry_run:
            self.ports.store.record_calibration(calibration)
            self.ports.store.record(row)
        return replace(state, did=str(row.standing), proposal=row if row.standing is Standing.PROPOSED else None)

    def _loosens(self, row: ThresholdRow, rows: Mapping[str, ThresholdRow], seen: _Seen) -> bool:
        """With the calibration in force, by the numbers; with another one, by what becomes of the judged items."""
        before = rows.get(row.model_version)
        if before is not None and before.calibration == row.calibration:
            return _is_above(row.thresholds, before.thresholds if self._holds(before) else ())
        old, new = self._tiers(seen, rows), self._tiers(seen, {**rows, row.model_version: row})
        approves_at_all = bool(row.thresholds) and not (before is not None and before.thresholds)
        return approves_at_all or bool((new < old).any())

    def _tiers(self, seen: _Seen, rows: Mapping[str, ThresholdRow]) -> Places:
        plan = plan_in_force(self.ports.plan, list(rows.values()), self.policy.budget)
        strictness = {tier.name: place for place, tier in enumerate(plan.tiers)}
        receipts = self.ports.engine.triage(predictions_of(seen.items, self.policy.kind), plan, self.ports.key)
        return np.array([strictness[each] for each in receipts["tier"].to_pylist()], dtype=np.int64)


class _Seen:
    """The judged items of one model version, as columns."""

    def __init__(self, items: Sequence[CalibrationItem], key: bytes, policy: ReviewPolicy) -> None:
        self.items = items
        predictions = [each.item.prediction for each in items]
        self.right = np.array([each.outcome is Outcome.ACCEPTED for each in items], dtype=bool)
        self.scenarios = [each.scenario for each in predictions]
        self.scored: Scored = scored(
            [each.confidence for each in predictions],
            [each.scores if policy.kind.exclusive else {} for each in predictions],
            [policy.kind.text(each.output) for each in predictions],
        )
        drawn = [draws.draw(key, "calibrate", each.model_version, each.item_id) for each in predictions]
        self.fitted = np.array([each < FIT_SHARE for each in drawn], dtype=bool)
        costs = policy.budget.costs
        said = [(policy.kind.text(each.item.prediction.output), policy.kind.text(each.output)) for each in items]
        prices = [1.0 if costs is None else costs.of(*pair) / costs.highest for pair in said]
        self.losses = np.array(
            [
                0.0 if each.outcome is Outcome.ACCEPTED else _HIGHEST if each.outcome is None else price
                for each, price in zip(items, prices, strict=True)
            ],
            dtype=np.float64,
        )

    def verdicts(self, computed: Numbers, calibration: Calibration) -> Verdicts:
        return Verdicts(computed, self.losses, self.scenarios, self.fitted, calibrated=calibration.method != "none")


def _figures(state: ModelThresholds) -> Mapping[str, JSON]:
    return {
        "judged": state.judged,
        "fitted_on": state.fitted_on,
        "overall": _of(state.choice.overall),
        "by_scenario": [{"scenario": each.scenario, **_outlook(each)} for each in state.choice.outlooks],
        "ece": [state.before.ece, state.after.ece],
        "brier": [state.before.brier, state.after.brier],
    }


def _outlook(outlook: Outlook) -> dict[str, JSON]:
    told: dict[str, JSON] = {name: getattr(outlook, name) for name in ("max_risk", "labels_needed", "mean_cost")}
    return told | _of(outlook.figures)


def _of(figures: Figures) -> dict[str, JSON]:
    return {name: getattr(figures, name) for name in Figures.__slots__}


def _today(model_version: str, known: ThresholdRow | None) -> Calibration:
    """What risks are computed by today."""
    in_force = None if known is None else known.calibration
    return in_force or Calibration(model_version, "none", ())


def _says_nothing_new(row: ThresholdRow, newest: ThresholdRow | None, *, by_hand: bool) -> bool:
    """A calibration alone is worth a row only where somebody's own numbers are held against its risks."""
    if newest is None:
        return not row.thresholds and (not by_hand or row.calibration == _today(row.model_version, None))
    same = row.thresholds == newest.thresholds and row.calibration == newest.calibration
    return same and row.terms == newest.terms


def _is_above(new: Collection[Threshold], old: Collection[Threshold]) -> bool:
    """Whether any of the new thresholds approves a risk that the old ones don't."""
    before = {each.scenario: each.max_risk for each in old}
    return any(each.max_risk > before.get(each.scenario, before.get(None, CLOSED)) for each in new) or _opens_others(new, before)


def _opens_others(new: Collection[Threshold], before: Mapping[str | None, float]) -> bool:
    """A threshold for every scenario reaches those for which there was a lower one, or none."""
    everywhere = [each.max_risk for each in new if each.scenario is None]
    own = {each.scenario for each in new}
    return any(risk > known for risk in everywhere for scenario, known in before.items() if scenario not in own)


# --------------------------------------------------------------------------------------- what a person or an audit decides


def approve(
    store: ThresholdStore, clock: Clock, *, by: str, reason: str, model_version: str | None = None
) -> tuple[ThresholdRow, ...]:
    """Puts the proposal of `model_version` (every one that waits if None) in force, signed off `by` somebody.

    Raises UsageError if nothing waits, or no reason is given.
    """
    if not reason.strip():
        raise UsageError("A sign-off needs a reason.", remedy='Say why: --reason "…".')
    waiting = [row for row in store.proposals() if model_version in (None, row.model_version)]
    if not waiting:
        of = "" if model_version is None else f" for model version {model_version!r}"
        raise UsageError(
            f"No thresholds wait for a sign-off{of}.", remedy="`hitl-bridge thresholds show` tells how things stand."
        )
    now = clock.now()
    signed = tuple(replace(row, standing=Standing.APPROVED, by=by, reason=reason.strip(), at=now) for row in waiting)
    for row in signed:
        store.record(row)
    return signed


def tighten(
    store: ThresholdStore, clock: Clock, model_version: str, max_risk: float, *, reason: str, scenario: str | None = None
) -> ThresholdRow | None:
    """Lowers what is approved without a look to `max_risk` (CLOSED: nothing), in one scenario or in all of them.

    None where that would lower nothing: nothing is in force, the threshold is as low already, or it was set by hand. The
    thresholds never rise by this; only `approve` raises them.
    """
    row = next((row for row in store.in_force() if row.model_version == model_version), None)
    if row is None:
        return None
    lower = _lowered(row.thresholds, model_version, max_risk, scenario)
    if lower == row.thresholds:
        return None
    tightened = replace(row, standing=Standing.TIGHTENED, thresholds=lower, by="bridge", reason=reason, at=clock.now())
    store.record(tightened)
    return tightened


def _lowered(thresholds: Sequence[Threshold], model_version: str, max_risk: float, scenario: str | None) -> tuple[Threshold, ...]:
    if scenario is None:
        lower = (replace(each, max_risk=min(each.max_risk, max_risk)) for each in thresholds)
        return tuple(each for each in lower if max_risk > CLOSED or each.max_risk > CLOSED)
    before = {each.scenario: each.max_risk for each in thresholds}
    now = before.get(scenario, before.get(None, CLOSED))
    if max_risk >= now:
        return tuple(thresholds)
    return (*(each for each in thresholds if each.scenario != scenario), Threshold(model_version, max_risk, scenario))
