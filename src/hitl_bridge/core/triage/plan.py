"""What triage is to do, as a value that any engine can carry out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
class TriagePlan:
    """Tiers from lenient to strict, rules in order, and the rates of the draws.

    `auto_tier` is the name of the tier that needs no person (None if there is none). A rule whose expression is NULL
    for a prediction (a value it needs is missing) sends it to the strictest tier. `group_by` names the attribute
    that keeps related items on one side of the split; None means the item id.
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
    edge_risk: float = 0.30

    @property
    def strictest(self) -> str:
        return self.tiers[-1].name

    @property
    def first_review_tier(self) -> str:
        """The most lenient tier that a person works in: audits and uniform items go there."""
        return next(tier.name for tier in self.tiers if tier.name != self.auto_tier)
