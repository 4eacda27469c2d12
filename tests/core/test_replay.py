"""Policies come back from their JSON as they were, and receipts hold what it takes to compute them again."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.adapters.triage_engine.duckdb import DuckDbTriage
from hitl_bridge.core.triage.calibration import Calibration
from hitl_bridge.core.triage.columns import PREDICTIONS, RECEIPTS
from hitl_bridge.core.triage.normalise import canonical
from hitl_bridge.core.triage.plan import CLOSED, Rule, Threshold, TierBound, TriagePlan
from hitl_bridge.core.triage.policy_record import PolicyRecord, policy_content, read_policy
from hitl_bridge.core.triage.replay import NOT_KEPT, as_predictions, compared, not_replayed, receipt_table

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
SHARE = st.floats(0, 1)
CALIBRATIONS = st.builds(
    Calibration, TEXT, st.sampled_from(["temperature", "platt", "isotonic", "none"]), st.lists(st.floats(-9, 9)).map(tuple)
)
PLANS = st.builds(
    TriagePlan,
    policy_version=TEXT,
    tiers=st.lists(st.builds(TierBound, TEXT, SHARE | st.just(CLOSED)), min_size=1, max_size=4).map(tuple),
    rules=st.lists(st.builds(Rule, TEXT, TEXT, TEXT), max_size=3).map(tuple),
    auto_tier=st.none() | TEXT,
    attributes=st.dictionaries(TEXT, st.sampled_from(["float", "string"]), max_size=3),
    audit_rate=SHARE,
    uniform_rate=SHARE,
    holdout_share=SHARE,
    group_by=st.none() | TEXT,
    edge_risk=SHARE,
    calibrations=st.dictionaries(TEXT, CALIBRATIONS, max_size=2),
    thresholds=st.lists(st.builds(Threshold, TEXT, SHARE | st.just(CLOSED), st.none() | TEXT), max_size=2).map(tuple),
)
POOLS = st.lists(st.tuples(TEXT, st.none() | TEXT), max_size=3).map(tuple)
RECORDS = st.builds(PolicyRecord, PLANS, POOLS)

KEY = b"k" * 32
PLAN = TriagePlan(
    "p1",
    (TierBound("auto", 0.1), TierBound("quick", 0.4), TierBound("comprehensive", 1.0)),
    rules=(
        Rule("amount > 10000 OR scenario = 'legal'", "comprehensive", "high stakes"),
        Rule("label = 'cancel' AND predicted_at < '2026-11-22'", "quick", "old"),
        Rule("margin < 0.05", "quick", "torn"),
    ),
    attributes={"amount": "float"},
    audit_rate=0.2,
    uniform_rate=0.2,
    calibrations={"m1": Calibration("m1", "temperature", (0.7,))},
)
POOL_CONDITIONS = (("payments", "scenario = 'payments'"), ("general", None))


@given(RECORDS)
def test_a_policy_comes_back_from_its_json_as_it_was(record: PolicyRecord) -> None:
    assert read_policy(policy_content(record)) == record
    assert read_policy(json.loads(canonical(policy_content(record)))) == record


@given(RECORDS, RECORDS)
def test_equal_policies_have_equal_json_and_others_have_not(one: PolicyRecord, other: PolicyRecord) -> None:
    assert (canonical(policy_content(one)) == canonical(policy_content(other))) == (one == other)


def test_what_an_older_version_did_not_write_has_its_default() -> None:
    content = {name: value for name, value in policy_content(PolicyRecord(PLAN)).items() if name in ("policy_version", "tiers")}
    assert read_policy(content).plan == TriagePlan(PLAN.policy_version, PLAN.tiers)


def test_json_that_is_no_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="is no policy"):
        read_policy({"tiers": 3})


def _predictions(number: int) -> pa.Table:
    rows = [_prediction(at) for at in range(number)]
    types = {"VARCHAR": pa.string(), "DOUBLE": pa.float64(), "BIGINT": pa.int64(), "INTEGER": pa.int32(), "BOOLEAN": pa.bool_()}
    return pa.table({name: pa.array([row.get(name) for row in rows], types[kind]) for name, kind in PREDICTIONS.items()})


def _prediction(at: int) -> dict[str, Any]:
    sure = 0.34 + (at % 97) / 150
    label = ("refund", "cancel")[at % 2]
    scores = {label: sure, "billing": 1 - sure} if at % 9 else {}
    return {
        "item_id": f"t-{at}",
        "input": '{"text":"words"}',
        "output": json.dumps({"label": label}, separators=(",", ":")),
        "scores": json.dumps(scores, sort_keys=True, separators=(",", ":")),
        "confidence": sure,
        "margin": abs(2 * sure - 1) if scores else None,
        "entropy": 0.5 if scores else None,
        "label": label,
        "model_version": ("m1", "m2")[at % 5 == 0],
        "scenario": ("legal", None, "payments", "web")[min(3, at % 10)],
        "attributes": json.dumps({"amount": at % 40 * 300.0} if at % 11 else {}, separators=(",", ":")),
        "predicted_at": (None, "2026-11-21T10:00:00Z", "2026-11-22T10:00:00Z")[min(2, at % 13)],
        "input_digest": f"{at:032x}",
        "content_digest": f"{at + 1:032x}",
        "row": at + 1,
    }


def test_every_receipt_comes_out_the_same_from_itself_and_its_policy() -> None:
    """Calibrated risks, rules over all kinds of fields, missing values and draws: to the last bit."""
    receipts = DuckDbTriage(POOL_CONDITIONS).triage(_predictions(600), PLAN, KEY)
    kept = read_policy(policy_content(PolicyRecord(PLAN, POOL_CONDITIONS)))
    again = DuckDbTriage(kept.pools).triage(as_predictions(receipts), kept.plan, KEY)
    outcomes = [compared(one, other) for one, other in zip(receipts.to_pylist(), again.to_pylist(), strict=True)]
    assert {differing for each in outcomes for differing in each.differs} == set()
    assert len({(row["tier"], row["purpose"]) for row in receipts.to_pylist()}) == 7


def test_a_receipt_of_one_row_is_a_table_again() -> None:
    [receipt] = DuckDbTriage().triage(_predictions(1), PLAN, KEY).to_pylist()
    assert receipt_table(receipt).to_pylist() == [receipt]
    assert list(receipt) == list(RECEIPTS)


def test_each_column_that_differs_is_named_and_numbers_differ_by_a_bit() -> None:
    [receipt] = DuckDbTriage().triage(_predictions(1), PLAN, KEY).to_pylist()
    other = receipt | {"tier": "auto", "risk": receipt["risk"] + 2e-16, "edge": None}
    found = compared(receipt, other)
    assert found.differs == ("tier", "risk", "edge")
    assert not found.same
    assert compared(receipt, dict(receipt)).same
    assert not not_replayed(receipt, NOT_KEPT).same
