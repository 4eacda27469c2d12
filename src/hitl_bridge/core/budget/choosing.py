"""From judged items to thresholds, and the figures that say what they let through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hitl_bridge.core.budget.budget_policy import BudgetPolicy
from hitl_bridge.core.budget.calibrating import FIT_SHARE
from hitl_bridge.core.budget.error_budget import (
    Budget,
    Figures,
    Judged,
    choose,
    choose_each,
    labels_needed,
    measured,
)
from hitl_bridge.core.triage.calibration import Numbers
from hitl_bridge.core.triage.plan import CLOSED, Threshold

GROWTH = 1.1
"""Thresholds are chosen from numbers of items that were fixed beforehand, each a tenth more than the one before: who chose
whenever it comes out well would choose by luck."""

_FEW = 20


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Judged items of one model version, by row. `risks` and `losses` are those of `error_budget.Judged`; `fitted` says on
    which items the calibration was fitted: they choose nothing."""

    risks: Numbers
    losses: Numbers
    scenarios: Sequence[str | None]
    fitted: NDArray[np.bool_]
    calibrated: bool = True

    def pilot(self, scenario: str | None = None) -> Judged:
        """The items that choose nothing, of one scenario or of all."""
        wanted = self.fitted & self._of(scenario)
        return Judged(self.risks[wanted], self.losses[wanted])

    def judged(self, scenario: str | None = None) -> Judged:
        """Of one scenario, or of all."""
        wanted = ~self.fitted & self._of(scenario)
        return Judged(self.risks[wanted], self.losses[wanted])

    def _of(self, scenario: str | None) -> NDArray[np.bool_]:
        return np.array([scenario is None or each == scenario for each in self.scenarios], dtype=bool)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What was chosen for a scenario (None: all of them), and what it lets through. `max_risk` None: closed, and then
    `labels_needed` is how many more items have to be judged before it may open (None: no number is known to do). `mean_cost` is
    what the budget bounds where errors have costs: in ordinary errors, of an item (`of: approved`: of an approved one)."""

    scenario: str | None
    max_risk: float | None
    figures: Figures
    labels_needed: int | None = 0
    mean_cost: float | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Thresholds of one model version (none: closed) and how each scenario stands; `overall` is all traffic together."""

    thresholds: tuple[Threshold, ...]
    outlooks: tuple[Outlook, ...]
    overall: Figures


def choose_thresholds(model_version: str, verdicts: Verdicts, policy: BudgetPolicy) -> Choice:
    """The most lenient thresholds that keep the policy's budget. Raises ValueError without one."""
    budget = policy.budget
    if budget is None:
        raise ValueError("there is no error budget to choose a threshold from")
    slices = _slices(verdicts) if policy.per == "scenario" else {}
    chosen: dict[str | None, float] = {}
    if policy.per is None:
        chosen[None] = choose(verdicts.judged(), verdicts.pilot(), budget)
    else:
        chosen.update(choose_each(slices, budget))
    share = replace(budget, confidence=1 - budget.doubt / max(len(chosen), 1))
    outlooks = tuple(_outlook(verdicts, scenario, risk, share) for scenario, risk in chosen.items())
    opened = tuple(Threshold(model_version, risk, scenario) for scenario, risk in chosen.items() if risk > CLOSED)
    return Choice(opened, outlooks, overall(verdicts, {each.scenario: each.max_risk for each in opened}, budget.confidence))


def by_hand(verdicts: Verdicts, max_risk: float, confidence: float) -> Choice:
    """What a threshold that somebody wrote down lets through: measured, and promised by nobody."""
    figures = measured(verdicts.judged(), max_risk, confidence)
    return Choice((), (Outlook(None, max_risk, figures),), figures)


def overall(verdicts: Verdicts, bounds: Mapping[str | None, float], confidence: float) -> Figures:
    """Of all judged items, each by the bound of its scenario: as if the approved had risk 0 and the rest 1."""
    limits = np.array([bounds.get(each, bounds.get(None, CLOSED)) for each in verdicts.scenarios], dtype=np.float64)
    approved = verdicts.risks <= limits
    told = Verdicts(np.where(approved, 0.0, 1.0), verdicts.losses, verdicts.scenarios, verdicts.fitted)
    return measured(told.judged(), 0.5 if bounds else CLOSED, confidence)


def _slices(verdicts: Verdicts) -> dict[str, tuple[Judged, Judged]]:
    """Items without a scenario are in no slice, so nothing of theirs is approved without a look."""
    names = sorted({each for each in verdicts.scenarios if each is not None})
    return {name: (verdicts.judged(name), _pilot(verdicts, name)) for name in names}


def _pilot(verdicts: Verdicts, scenario: str) -> Judged:
    """The scenario's own items, or all where it has few: both are other items than the judged ones."""
    own = verdicts.pilot(scenario)
    return own if len(own) >= _FEW else verdicts.pilot()


def _outlook(verdicts: Verdicts, scenario: str | None, max_risk: float, budget: Budget) -> Outlook:
    judged = verdicts.judged(scenario)
    figures = measured(judged, max_risk, budget.confidence)
    if max_risk > CLOSED:
        return Outlook(scenario, max_risk, figures, mean_cost=_mean_cost(judged, max_risk, budget))
    needed = labels_needed(judged, budget, calibrated=verdicts.calibrated)
    return Outlook(scenario, None, figures, None if needed is None else still_needed(needed, len(judged)))


def _mean_cost(judged: Judged, max_risk: float, budget: Budget) -> float | None:
    approved = judged.risks <= max_risk
    among = int(approved.sum()) if budget.of == "approved" else len(judged)
    return None if budget.unit == 1.0 or not among else float(judged.losses[approved].sum()) * budget.unit / among


def still_needed(judged: int, there: int) -> int:
    """Calibration items that are still to be judged until `judged` may choose (`there` do now) and a step is reached; at least
    one more."""
    now, wanted = there / (1 - FIT_SHARE), judged / (1 - FIT_SHARE)
    reached = int(np.ceil(wanted))
    while step(reached) < wanted:
        reached += 1
    return max(1, int(np.ceil(reached - now)))


def step(items: int) -> int:
    """The largest number of items, of those fixed beforehand, that is there; 0 of none."""
    if items < 1:
        return 0
    power = int(np.log(items) / np.log(GROWTH)) + 1
    while int(np.ceil(GROWTH**power)) > items:
        power -= 1
    return int(np.ceil(GROWTH**power))
