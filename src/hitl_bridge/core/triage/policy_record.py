"""A policy as JSON and back: all that decides a tier, a purpose, a split or a pool, so that a receipt can be computed again.

The names of the JSON are those of the values. A record of an older version of the bridge may lack a field: then the value has
its default, which is what decided at the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from hitl_bridge.core.model import JSON, JSONObject
from hitl_bridge.core.triage.calibration import Calibration, Method
from hitl_bridge.core.triage.plan import Rule, Threshold, TierBound, TriagePlan

PoolCondition = tuple[str, str | None]
"""A pool's name and the SQL expression that says which items are its; None takes the rest."""

_SIMPLE = ("policy_version", "auto_tier", "audit_rate", "uniform_rate", "holdout_share", "group_by", "edge_risk")


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """What the triage engine was given beside predictions and the workspace's key."""

    plan: TriagePlan
    pools: tuple[PoolCondition, ...] = ()


def policy_content(record: PolicyRecord) -> JSONObject:
    """The policy as JSON, from which `read_policy` makes the same value."""
    return _plan(record.plan) | {"pools": [[name, when] for name, when in record.pools]}


def read_policy(content: JSONObject) -> PolicyRecord:
    """The policy of such JSON, parsed. Raises ValueError for JSON that is none."""
    try:
        pools = tuple((str(name), cast("str | None", when)) for name, when in _pairs(content.get("pools", [])))
        return PolicyRecord(_read_plan(content), pools)
    except (KeyError, TypeError) as error:
        raise ValueError(f"is no policy: {type(error).__name__} {error}") from None


def _plan(plan: TriagePlan) -> dict[str, JSON]:
    simple: dict[str, JSON] = {name: getattr(plan, name) for name in _SIMPLE}
    return simple | {
        "tiers": [{"name": tier.name, "max_risk": tier.max_risk} for tier in plan.tiers],
        "rules": [{"when": rule.when, "tier": rule.tier, "reason": rule.reason} for rule in plan.rules],
        "attributes": dict(plan.attributes),
        "calibrations": {name: _calibration(each) for name, each in plan.calibrations.items()},
        "thresholds": [_threshold(each) for each in plan.thresholds],
    }


def _calibration(calibration: Calibration) -> JSON:
    return {
        "model_version": calibration.model_version,
        "method": calibration.method,
        "parameters": list(calibration.parameters),
    }


def _threshold(threshold: Threshold) -> JSON:
    return {"model_version": threshold.model_version, "max_risk": threshold.max_risk, "scenario": threshold.scenario}


def _read_plan(content: JSONObject) -> TriagePlan:
    simple = {name: content[name] for name in _SIMPLE if name in content}
    return TriagePlan(
        **cast("Mapping[str, str]", simple),  # type: ignore[arg-type]
        tiers=tuple(TierBound(str(each["name"]), _number(each["max_risk"])) for each in _rows(content["tiers"])),
        rules=tuple(Rule(str(each["when"]), str(each["tier"]), str(each["reason"])) for each in _rows(content.get("rules", []))),
        attributes={name: str(kind) for name, kind in _object(content.get("attributes", {})).items()},
        calibrations={
            name: _read_calibration(cast("JSONObject", each)) for name, each in _object(content.get("calibrations", {})).items()
        },
        thresholds=tuple(_read_threshold(each) for each in _rows(content.get("thresholds", []))),
    )


def _read_calibration(content: JSONObject) -> Calibration:
    parameters = tuple(_number(each) for each in cast("Sequence[JSON]", content["parameters"]))
    return Calibration(str(content["model_version"]), cast("Method", content["method"]), parameters)


def _read_threshold(content: JSONObject) -> Threshold:
    scenario = cast("str | None", content["scenario"])
    return Threshold(str(content["model_version"]), _number(content["max_risk"]), scenario)


def _number(value: JSON) -> float:
    return float(cast("float", value))


def _object(value: JSON) -> JSONObject:
    return cast("JSONObject", value)


def _rows(value: JSON) -> Sequence[JSONObject]:
    return cast("Sequence[JSONObject]", value)


def _pairs(value: JSON) -> Sequence[Sequence[JSON]]:
    return cast("Sequence[Sequence[JSON]]", value)
