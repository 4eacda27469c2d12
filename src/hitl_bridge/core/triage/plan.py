"""What triage is to do, as a value that any engine can carry out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hitl_bridge.core.triage.calibration import Calibration

EDGE_RISK = 0.30
"""An item of a higher risk is an edge case."""

CLOSED = -1.0
"""The `max_risk` of a tier that takes nothing: no risk is at most that."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A SQL expression over the prediction's fields; the first that is true decides the tier."""

    when: str
    tier: str
    reason: str


@dataclass(frozen=True, slots=True)
class TierBound:
    """A tier takes predictions whose risk is at most `max_risk`; the last, strictest tier takes the rest (max_risk 1)."""

    name: str
    max_risk: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """Up to which risk predictions of one model version are approved without a look; `scenario` None: in every scenario."""

    model_version: str
    max_risk: float
    scenario: str | None = None


@dataclass(frozen=True, slots=True)
class TriagePlan:
    """Tiers from lenient to strict, rules in order, and the rates of the draws.

    `auto_tier` is the name of the tier that needs no person (None if there is none). A rule whose expression is NULL
    for a prediction (a value it needs is missing) sends it to the strictest tier. `group_by` names the attribute
    that keeps related items on one side of the split; None means the item id.

    `calibrations` says by model version how confidences become risks; without one the risk is 1 − confidence.
    `thresholds` take the place of the auto tier's own `max_risk` for their model version (and scenario): that one is CLOSED
    where the error budget decides, so that nothing is approved for which no threshold was chosen.
    """

    policy_version: str
    tiers: tuple[TierBound, ...]
    rules: tuple[Rule, ...] = ()
    auto_tier: str | None = "auto"
    attributes: Mapping[str, str] = field(default_factory=dict)
    audit_rate: float = 0.05
    uniform_rate: float = 0.0
    holdout_share: float = 0.5
    group_by: str | None = None
    edge_risk: float = EDGE_RISK
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    thresholds: tuple[Threshold, ...] = ()

    @property
    def strictest(self) -> str:
        return self.tiers[-1].name

    @property
    def first_review_tier(self) -> str:
        """The most lenient tier that a person works in: audits and uniform items go there."""
        return next(tier.name for tier in self.tiers if tier.name != self.auto_tier)
