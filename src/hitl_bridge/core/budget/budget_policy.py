"""What the owner promises about what is approved without a look, and the plan that keeps it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from hitl_bridge.core.budget.costs import Costs
from hitl_bridge.core.budget.error_budget import Budget, Of
from hitl_bridge.core.model import JSON, JSONObject
from hitl_bridge.core.triage.calibration import Calibration
from hitl_bridge.core.triage.normalise import canonical
from hitl_bridge.core.triage.plan import Threshold, TriagePlan


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """`share` of the items (`of: approved`: of the approved) may be wrong, with `confidence`; with `costs` it is the mean cost.
    `decides`: the auto tier's threshold is chosen from it; else it was set by hand and promises nothing."""

    share: float | None = None
    confidence: float = 0.95
    of: Of = "all"
    per: Literal["scenario"] | None = None
    costs: Costs | None = None
    decides: bool = False

    @property
    def budget(self) -> Budget | None:
        if self.share is None:
            return None
        return Budget(self.share, self.confidence, self.of, 1.0 if self.costs is None else self.costs.highest)

    @property
    def terms(self) -> JSONObject:
        """What a threshold promises, as it is kept with it."""
        simple: dict[str, JSON] = {"error_budget": self.share, "confidence": self.confidence, "of": self.of, "per": self.per}
        return simple | {"costs": None if self.costs is None else _costs(self.costs)}

    def is_kept_by(self, terms: JSONObject) -> bool:
        """Whether thresholds that were chosen on those `terms` keep these, too: the same promise, or a stricter one."""
        same = all(terms.get(name) == self.terms[name] for name in ("of", "per", "costs"))
        share, confidence = terms.get("error_budget"), terms.get("confidence")
        if not same or self.share is None or not isinstance(share, int | float) or not isinstance(confidence, int | float):
            return False
        return share <= self.share and confidence >= self.confidence


def _costs(costs: Costs) -> JSON:
    pairs: list[JSON] = [[predicted, true, cost] for (predicted, true), cost in sorted(costs.by_pair.items())]
    return {"by_true": dict(costs.by_true), "by_pair": pairs}


class InForce(Protocol):
    """What is in force for one model version."""

    @property
    def model_version(self) -> str: ...
    @property
    def calibration(self) -> Calibration | None: ...
    @property
    def thresholds(self) -> tuple[Threshold, ...]: ...
    @property
    def terms(self) -> JSONObject: ...


def plan_in_force(plan: TriagePlan, rows: Collection[InForce], policy: BudgetPolicy) -> TriagePlan:
    """The plan of the settings, with what is in force beside them; its version names both.

    Thresholds that were chosen for a weaker promise than the settings make now are left out: then nothing is approved
    without a look until there are new ones.
    """
    calibrations = {row.model_version: row.calibration for row in rows if row.calibration is not None}
    kept = [row for row in rows if policy.decides and policy.is_kept_by(row.terms)]
    thresholds = tuple(threshold for row in sorted(kept, key=lambda row: row.model_version) for threshold in row.thresholds)
    if not calibrations and not thresholds:
        return plan
    version = _version(plan.policy_version, calibrations, thresholds)
    return replace(plan, policy_version=version, calibrations=calibrations, thresholds=thresholds)


def _version(settings: str, calibrations: Mapping[str, Calibration], thresholds: Collection[Threshold]) -> str:
    decides: dict[str, JSON] = {
        "settings": settings,
        "calibrations": {name: [each.method, list(each.parameters)] for name, each in calibrations.items()},
        "thresholds": [[each.model_version, each.scenario, each.max_risk] for each in thresholds],
    }
    return "p-" + hashlib.sha256(canonical(decides).encode("utf-8")).hexdigest()[:12]
