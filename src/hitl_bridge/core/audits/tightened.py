"""A plan that the bridge itself has made stricter: more audits after drift, a lower threshold after a held lot."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from hitl_bridge.core.triage.plan import CLOSED, Threshold, TriagePlan


def with_audit_rate(plan: TriagePlan, rate: float | None) -> TriagePlan:
    """The plan with a raised audit rate; the same plan where that is no raise. It is another policy, so that a lot's items
    were all drawn with one probability and a receipt can be computed again."""
    if rate is None or rate <= plan.audit_rate:
        return plan
    return replace(plan, audit_rate=rate, policy_version=_version(plan, f"audit rate {rate!r}"))


def with_ceilings(plan: TriagePlan, ceilings: Mapping[str, float]) -> TriagePlan:
    """The plan in which a threshold that was set by hand is at most so high for some model versions (CLOSED: nothing is
    approved without a look); the same plan where that lowers nothing."""
    auto = next((tier.max_risk for tier in plan.tiers if tier.name == plan.auto_tier), CLOSED)
    lower = {version: risk for version, risk in sorted(ceilings.items()) if risk < auto}
    if not lower:
        return plan
    others = tuple(each for each in plan.thresholds if each.model_version not in lower)
    thresholds = others + tuple(Threshold(version, risk) for version, risk in lower.items())
    return replace(plan, thresholds=thresholds, policy_version=_version(plan, f"ceilings {lower!r}"))


def _version(plan: TriagePlan, said: str) -> str:
    return "p-" + hashlib.sha256(f"{plan.policy_version}\x1f{said}".encode()).hexdigest()[:12]
