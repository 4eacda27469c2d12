"""The risk in SQL is the risk of the core, and thresholds hold for their model version and scenario alone."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from hitl_bridge.adapters.triage_engine.calibrated import bound_sql, risk_sql
from hitl_bridge.adapters.triage_engine.duckdb import DuckDbTriage
from hitl_bridge.core.triage.calibration import Calibration, risks, scored
from hitl_bridge.core.triage.columns import PREDICTIONS
from hitl_bridge.core.triage.plan import CLOSED, Threshold, TierBound, TriagePlan

TIERS = (TierBound("auto", CLOSED), TierBound("quick", 0.3), TierBound("strict", 1.0))
VERSION = "m'1"
ODD = ("a", "b/c", 'd~"e', "x'y")


def rows(count: int = 600) -> list[tuple[dict[str, float], str, float]]:
    rng, made = np.random.default_rng(1), []
    for _ in range(count):
        labels = rng.integers(0, len(ODD) + 1)
        shares = rng.dirichlet(np.full(labels, 0.3)).tolist() if labels else []
        scores = {ODD[place]: 0.0 if rng.random() < 0.05 else float(share) for place, share in enumerate(shares)}
        label = max(scores, key=lambda name: scores[name]) if scores and rng.random() < 0.9 else "unknown"
        made.append((scores, label, scores.get(label, float(rng.choice([0.0, 1.0, 0.5, rng.random()])))))
    return made


@pytest.mark.parametrize(
    "calibration",
    [
        Calibration(VERSION, "temperature", (0.37,)),
        Calibration(VERSION, "temperature", (2.5,)),
        Calibration(VERSION, "platt", (1.3, -0.2)),
        Calibration(VERSION, "isotonic", (0.1, 0.05, 0.5, 0.6, 0.9, 0.99)),
        Calibration(VERSION, "none", ()),
    ],
    ids=lambda each: f"{each.method}{each.parameters[:1]}",
)
def test_the_risk_in_sql_is_that_of_the_core(calibration: Calibration) -> None:
    there = rows()
    table = pa.table(
        {
            "scores": [json.dumps(scores) for scores, _, _ in there],
            "label": [label for _, label, _ in there],
            "confidence": [confidence for _, _, confidence in there],
            "model_version": [VERSION] * len(there),
        }
    )
    plan = TriagePlan("p", TIERS, calibrations={VERSION: calibration})
    with duckdb.connect() as connection:
        connection.register("predictions", table)
        found = connection.sql(f"SELECT {risk_sql(plan)}::DOUBLE FROM predictions").fetchall()  # noqa: S608
    expected = risks(calibration, scored([each[2] for each in there], [each[0] for each in there], [each[1] for each in there]))
    assert np.array(found)[:, 0] == pytest.approx(expected, abs=1e-12)


def test_without_calibrations_and_thresholds_the_expressions_are_plain() -> None:
    plan = TriagePlan("p", TIERS)
    assert risk_sql(plan) == "1 - confidence"
    assert bound_sql(plan, TIERS[1]) == "'0.3'::DOUBLE"


def predicted(version: str, scenario: str | None, confidence: float) -> dict[str, Any]:
    filled: dict[str, Any] = {
        "item_id": f"{version}{scenario}{confidence}",
        "input": "{}",
        "output": "{}",
        "scores": "{}",
        "attributes": "{}",
    }
    given = {"model_version": version, "scenario": scenario, "confidence": confidence, "input_digest": "", "content_digest": ""}
    return filled | given


def test_a_threshold_reaches_its_own_model_version_and_scenario_and_no_other() -> None:
    kinds = {"VARCHAR": pa.string(), "DOUBLE": pa.float64(), "BIGINT": pa.int64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in PREDICTIONS.items()])
    told = [("m1", "cards", 0.95), ("m1", None, 0.95), ("m2", "cards", 0.95), ("m1", "loans", 0.95), ("m3", "cards", 1.0)]
    table = pa.Table.from_pylist([predicted(*each) for each in told], schema=schema)
    thresholds = (Threshold("m1", 0.1), Threshold("m1", CLOSED, "loans"), Threshold("m2", 0.01, "cards"))
    receipts = DuckDbTriage().triage(table, TriagePlan("p", TIERS, thresholds=thresholds), b"k" * 32)
    assert receipts["tier"].to_pylist() == ["auto", "auto", "quick", "quick", "quick"]


def test_the_last_bit_of_a_threshold_is_kept() -> None:
    edge = float(np.nextafter(0.1, 0.0))
    plan = TriagePlan("p", TIERS, thresholds=(Threshold("m1", edge),))
    statement = f"SELECT {bound_sql(plan, TIERS[0])} FROM (SELECT 'm1' AS model_version, 'x' AS scenario)"  # noqa: S608
    with duckdb.connect() as connection:
        assert connection.sql(statement).fetchall() == [(edge,)]
