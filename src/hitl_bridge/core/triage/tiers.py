"""From a row of receipts to what the store and the reviewer need of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from hitl_bridge.core.model import JSON, Prediction, Purpose, Split, Triage
from hitl_bridge.core.triage import reasons
from hitl_bridge.core.triage.plan import TriagePlan

Receipt = Mapping[str, JSON]
"""A row with the columns of `core.triage.columns.RECEIPTS`."""


def triage_of(
    receipt: Receipt, prediction: Prediction, said: str, plan: TriagePlan, torn: Mapping[str, float] | None = None
) -> Triage:
    """What triage said, for an item that a person is to see.

    Args:
        said: the predicted answer in a few words.
        torn: scores that exclude each other, if the prediction's own don't.
    """
    purpose = Purpose(str(receipt["purpose"]))
    deciding = cast("int | None", receipt["rule"])
    return Triage(
        tier=str(receipt["tier"]),
        risk=cast("float", receipt["risk"]),
        reason=_reason(receipt, prediction if torn is None else replace(prediction, scores=torn), said, plan),
        purpose=purpose,
        split=Split(str(receipt["split"])),
        policy_version=str(receipt["policy_version"]),
        audit_rate=cast("float", receipt["audit_rate"]),
        uniform_rate=cast("float", receipt["uniform_rate"]),
        rule=None if deciding is None else plan.rules[deciding].when,
        edge=bool(receipt["edge"]),
    )


def _reason(receipt: Receipt, prediction: Prediction, said: str, plan: TriagePlan) -> str:
    if receipt["purpose"] != Purpose.REVIEW:
        return reasons.BLIND
    deciding = cast("int | None", receipt["rule"])
    if deciding is None:
        return reasons.by_risk(prediction.scores, said, prediction.confidence)
    holds = cast("list[bool | None]", json.loads(str(receipt["rule_values"])))[deciding]
    return reasons.by_rule(plan.rules[deciding], holds)
