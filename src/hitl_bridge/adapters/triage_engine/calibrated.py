"""The calibrated risk and the auto tier's threshold, as SQL expressions over the columns of checked predictions.

`risk_sql(plan)` takes the place of `1 - confidence`; `bound_sql(plan, tier)` that of a tier's `max_risk`. Without
calibrations and thresholds both are what they were: the plain expression, at no cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hitl_bridge.core.triage.calibration import TINY, Calibration
from hitl_bridge.core.triage.plan import TierBound, TriagePlan

SCORES = "json_extract(scores, '$.*')::DOUBLE[]"
OWN_SCORE = "json_extract(scores, '/' || replace(replace(label, '~', '~0'), '/', '~1'))::DOUBLE"


def risk_sql(plan: TriagePlan, *, scores: str = SCORES, own_score: str = OWN_SCORE) -> str:
    """An expression of type DOUBLE in [0, 1], for rows whose `confidence` is a number in [0, 1].

    It uses the columns `confidence` and `model_version`, and what `scores` (DOUBLE[]; empty or NULL where there are none) and
    `own_score` (DOUBLE; NULL if unknown) say: by default the JSON in `scores` and the predicted `label`.
    """
    cases = "".join(
        f" WHEN {_text(version)} THEN {_chance(calibration, scores, own_score)}"
        for version, calibration in sorted(plan.calibrations.items())
        if calibration.method != "none"
    )
    if not cases:
        return "1 - confidence"
    chance = f"CASE model_version{cases} ELSE confidence END"
    return f"least(greatest(1 - coalesce({chance}, 0.0), 0.0), 1.0)"


def bound_sql(plan: TriagePlan, tier: TierBound) -> str:
    """The highest risk that `tier` takes: a number, or for the auto tier an expression over `model_version`, `scenario`."""
    if tier.name != plan.auto_tier or not plan.thresholds:
        return _number(tier.max_risk)
    cases = "".join(
        f" WHEN model_version = {_text(each.model_version)}"
        + ("" if each.scenario is None else f" AND scenario = {_text(each.scenario)}")
        + f" THEN {_number(each.max_risk)}"
        for each in sorted(plan.thresholds, key=lambda each: (each.scenario is None, each.model_version, each.scenario or ""))
    )
    return f"CASE{cases} ELSE {_number(tier.max_risk)} END"


def _chance(calibration: Calibration, scores: str, own_score: str) -> str:
    """The probability that the prediction is right."""
    if calibration.method == "temperature":
        return _tempered(calibration.parameters[0], scores, own_score)
    if calibration.method == "platt":
        slope, shift = calibration.parameters
        return _sigmoid(f"{_number(slope)} * {_LOGIT} + {_number(shift)}")
    return _lines(calibration.parameters)


def _tempered(temperature: float, scores: str, own_score: str) -> str:
    best, power = f"list_max({scores})", _number(1 / temperature)
    own = f"pow(coalesce({own_score}, {best}) / {best}, {power})"
    total = f"list_sum([pow(score / {best}, {power}) FOR score IN {scores}])"
    alone = _sigmoid(f"{_LOGIT} * {power}")
    return f"CASE WHEN coalesce({best}, 0) > 0 THEN {own} / {total} ELSE {alone} END"


def _lines(parameters: Sequence[float]) -> str:
    """Straight lines through (x, y) points, level outside of them."""
    points = list(zip(parameters[0::2], parameters[1::2], strict=True))
    cases = f" WHEN confidence <= {_number(points[0][0])} THEN {_number(points[0][1])}"
    for (left, low), (right, high) in pairwise(points):
        line = f"{_number(low)} + (confidence - {_number(left)}) * {_number((high - low) / (right - left))}"
        cases += f" WHEN confidence <= {_number(right)} THEN {line}"
    return f"CASE{cases} ELSE {_number(points[-1][1])} END"


def _number(value: float) -> str:
    """As a text that is parsed as a double: a plain literal would be a decimal, and lose the last bit."""
    return f"'{value!r}'::DOUBLE"


_KEPT = f"least(greatest(confidence, {_number(TINY)}), {_number(1 - TINY)})"
_LOGIT = f"(ln({_KEPT}) - ln(1 - {_KEPT}))"


def _sigmoid(value: str) -> str:
    return f"1 / (1 + exp(-least(greatest({value}, -700), 700)))"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
