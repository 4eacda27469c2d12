"""Doubt beyond the model's own score: energy and disagreement, from the file to the rule and the receipt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import log
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hitl_bridge.core.model import JSON
from hitl_bridge.core.triage.uncertainty import energy
from tests.services.bench import POLICY, Bench, row, without_git

RULES = """triage:
  rules:
    - {when: "energy > -2", tier: comprehensive, reason: "like nothing the model knows"}
    - {when: "disagreement >= 0.5", tier: comprehensive, reason: "the models disagree"}
tiers:"""
SURE = 0.97
INSIDE: Mapping[str, float] = {"refund": 9.0, "billing": 1.0}
OUTSIDE: Mapping[str, float] = {"refund": 1.0, "billing": 0.5}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(without_git(tmp_path, POLICY.replace("tiers:", RULES, 1)))


def receipt(bench: Bench, item_id: str, model: str = "m1") -> dict[str, JSON]:
    found = bench.bridge.trace(item_id)["receipts"]
    assert isinstance(found, list)
    return next(dict(each) for each in found if isinstance(each, Mapping) and each["model_version"] == model)


def test_what_is_like_nothing_the_model_knows_is_found_by_its_logits_or_by_a_given_energy(bench: Bench) -> None:
    bench.ingest(row("in", SURE, logits=INSIDE), row("out", SURE, logits=OUTSIDE), row("said", SURE, logits=INSIDE, energy=-0.5))
    assert [receipt(bench, item_id)["tier"] for item_id in ("in", "out", "said")] == ["auto", "comprehensive", "comprehensive"]
    assert receipt(bench, "in")["energy"] == pytest.approx(-9.000335, abs=1e-5)
    assert receipt(bench, "said")["energy"] == -0.5


def test_without_energy_the_rule_can_not_be_told_and_the_strictest_tier_takes_it(bench: Bench) -> None:
    bench.ingest(row("t", SURE))
    assert (receipt(bench, "t")["energy"], receipt(bench, "t")["tier"]) == (None, "comprehensive")
    assert receipt(bench, "t")["rule_values"] == "[null,false]"


@pytest.mark.parametrize(
    "wrong", [{"energy": "high"}, {"energy": float("nan")}, {"logits": {"nonsense": 1.0}}, {"logits": {"refund": None}}]
)
def test_what_is_no_energy_is_a_problem_row(bench: Bench, wrong: dict[str, Any]) -> None:
    result = bench.ingest(json.dumps(row("t", SURE) | wrong), row("u", SURE, logits=INSIDE))
    assert (result.accepted, result.rejected) == (1, 1)


def test_the_same_prediction_with_another_energy_is_another_one(bench: Bench) -> None:
    bench.ingest(row("t", SURE, logits=INSIDE))
    assert bench.ingest(row("t", SURE, logits=INSIDE)).duplicates == 1
    assert bench.ingest(row("t", SURE, logits=OUTSIDE)).rejected == 1


def test_csv_and_parquet_bring_logits_and_energy_too(bench: Bench) -> None:
    head = "item_id,input,prediction,confidence,energy,logits,model_version\n"
    text = '"{""text"": ""hello""}","{""label"": ""refund""}"'
    lines = [f"c-1,{text},0.97,-7.5,,m1\n", f'c-2,{text},0.97,,"{{""refund"": 3.0}}",m1\n']
    (bench.root / "in.csv").write_text(head + "".join(lines), encoding="utf-8")
    assert bench.bridge.ingest(str(bench.root / "in.csv")).accepted == 2
    columns = [row(f"p-{n}", SURE, logits={"refund": float(n)}) for n in (4, 5)]
    pq.write_table(pa.Table.from_pylist(columns), bench.root / "in.parquet")
    assert bench.bridge.ingest(str(bench.root / "in.parquet")).accepted == 2
    assert [receipt(bench, item_id)["energy"] for item_id in ("c-1", "c-2", "p-4", "p-5")] == [-7.5, -3.0, -4.0, -5.0]


def test_models_that_disagree_in_one_batch_or_one_after_the_other_are_heard(bench: Bench) -> None:
    other = {"prediction": {"label": "billing"}, "model_version": "m2", "logits": INSIDE}
    bench.ingest(row("t", SURE, logits=INSIDE), row("t", SURE, **other), row("alone", SURE, logits=INSIDE))
    assert [receipt(bench, "t", model)["disagreement"] for model in ("m1", "m2")] == [0.5, 0.5]
    assert (receipt(bench, "t")["tier"], receipt(bench, "alone")["tier"]) == ("comprehensive", "auto")
    assert receipt(bench, "alone")["disagreement"] == 0.0
    bench.ingest(row("alone", SURE, **other), row("t", SURE, logits=INSIDE, model_version="m3"))
    assert (receipt(bench, "alone", "m2")["disagreement"], receipt(bench, "alone", "m2")["tier"]) == (0.5, "comprehensive")
    assert receipt(bench, "t", "m3")["disagreement"] == pytest.approx(1 / 3)


def test_what_models_said_of_an_earlier_input_does_not_count(bench: Bench) -> None:
    bench.ingest(row("t", SURE, logits=INSIDE))
    changed = {"input": {"text": "other words"}, "prediction": {"label": "billing"}, "model_version": "m2"}
    bench.ingest(row("t", SURE, logits=INSIDE, **changed))
    assert receipt(bench, "t", "m2")["disagreement"] == 0.0


def test_where_no_rule_asks_nothing_is_looked_up(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path))
    bench.ingest(row("t", SURE), row("t", SURE, model_version="m2"))
    assert receipt(bench, "t")["disagreement"] is None


def test_the_energy_of_one_logit_is_its_negative_and_of_two_alike_the_less() -> None:
    assert energy({"a": 3.0}) == -3.0
    assert energy({"a": 800.0, "b": 800.0}) == pytest.approx(-800.0 - log(2))
    assert energy({}) is None
    assert energy({"a": float("inf")}) is None
