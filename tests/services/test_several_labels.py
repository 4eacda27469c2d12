"""Predictions of several labels: triaged by whether the whole answer is right, settled label by label."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hitl_bridge.adapters.predictions.rows import RowRules, check_predictions
from hitl_bridge.adapters.sql.store import open_store
from hitl_bridge.adapters.triage_engine.duckdb import DuckDbTriage
from hitl_bridge.core.model import ADJUDICATION, JSON, Item, Outcome
from hitl_bridge.core.task_types import task_type
from hitl_bridge.core.task_types.controls import CANT_ANSWER, LABEL, NONE_BECAUSE, REJECT
from hitl_bridge.errors import SettingsError
from hitl_bridge.services.policy.thresholds import choose
from tests.services.adopting import Shelf, a_task, adopted, said
from tests.services.bench import ANA, BEN, DEE, POLICY, Bench, Watch, without_git
from tests.services.test_thresholds import BUDGET, KEY, PLAN, Desk, whole

KIND = task_type("multi-label-text")
LABELS = ("refund", "billing", "cancel")
SEVERAL = POLICY.replace("text-classification", "multi-label-text")


def row(item_id: str, scores: dict[str, float], **changes: Any) -> dict[str, Any]:
    return {
        "item_id": item_id,
        "input": {"text": f"the words of {item_id}"},
        "prediction": {"labels": [label for label, score in scores.items() if score >= 0.5]},
        "scores": scores,
        "model_version": "m1",
    } | changes


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(without_git(tmp_path / "ws", SEVERAL))
    yield bench
    bench.bridge.close()


def page_of(bench: Bench, item_id: str) -> tuple[Any, list[str]]:
    """What the reviewer's page shows, and the labels that it begins with."""
    page: Any = bench.labeling.page(bench.task_id(item_id))
    return page["data"], [label for region in page["prediction"]["result"] for label in region["value"]["choices"]]


def answer(bench: Bench, item_id: str, reviewer: str, *labels: str, **more: tuple[JSON, ...]) -> None:
    bench.labeling.answer(bench.task_id(item_id), reviewer, {LABEL: labels, **more})


def checked(*rows: dict[str, Any]) -> pa.Table:
    chunk = check_predictions(list(rows), RowRules(KIND, LABELS, KEY, {}))
    assert chunk.problems == ()
    return chunk.predictions


# ------------------------------------------------------------------------------------------------------------- triage


def test_the_confidence_is_that_of_all_labels_and_the_margin_that_of_the_one_in_doubt() -> None:
    (found,) = checked(row("t-1", {"refund": 0.9, "billing": 0.8, "cancel": 0.1})).to_pylist()
    assert found["confidence"] == pytest.approx(0.9 * 0.8 * 0.9)
    assert found["margin"] == pytest.approx(0.6)
    assert found["label"] == "billing, refund"


def test_bad_outputs_are_told_by_row() -> None:
    rules = RowRules(KIND, LABELS, KEY, {})
    bad: list[JSON] = [
        row("t-1", {"refund": 0.9}, prediction={"label": "refund"}),
        row("t-2", {"refund": 0.9}, prediction={"labels": ["refund", "tax"]}),
        row("t-3", {"refund": 0.9}, prediction={"labels": ["billing"]}),
    ]
    told = [problem.reason for problem in check_predictions(bad, rules).problems]
    assert told == ["prediction.labels must be a list of texts", "unknown label 'tax'", "scores: the predicted label has none"]


def test_two_sure_labels_are_approved_and_one_doubtful_one_of_three_is_not(bench: Bench) -> None:
    sure, torn = {"refund": 0.99, "billing": 0.99, "cancel": 0.01}, {"refund": 0.99, "billing": 0.6, "cancel": 0.01}
    result = bench.ingest(row("sure", sure), row("torn", torn), row("none", dict.fromkeys(LABELS, 0.45)))
    assert result.tiers == {"auto": 1, "quick": 0, "comprehensive": 2}
    assert bench.item("torn").triage.risk == pytest.approx(1 - 0.99 * 0.6 * 0.99)
    assert "torn between billing (60 %) and not billing (40 %)" in bench.item("torn").triage.reason


def test_calibrated_risks_go_by_the_confidence_alone(tmp_path: Path) -> None:
    store = open_store("sqlite:///bridge.db", tmp_path, key=KEY)
    desk = SeveralDesk(store, Watch())
    desk.judged(600)
    policy = replace(whole(BUDGET), kind=KIND)
    (model,) = choose(desk.ports(), policy, force=True).models
    assert model.calibration.method == "platt"
    assert model.choice.overall.share_at_most <= 0.05
    assert model.choice.overall.coverage > 0.5
    slope, shift = model.calibration.parameters
    plan = replace(PLAN, calibrations={"m1": model.calibration})
    table = checked(row("t-1", {"refund": 0.9, "billing": 0.8, "cancel": 0.1}))
    (receipt,) = DuckDbTriage().triage(table, plan, KEY).to_pylist()
    logit = float(np.log(0.648 / 0.352))
    assert receipt["risk"] == pytest.approx(1 - 1 / (1 + np.exp(-(slope * logit + shift))))
    store.close()


class SeveralDesk(Desk):
    """Whose predictions name two labels, each with a score."""

    def _item(self, name: str, sure: float, of_item: Any) -> Item:
        item = super()._item(name, sure, of_item)
        scores = {"refund": 0.99, "billing": max(0.5, sure)}
        return replace(item, prediction=replace(item.prediction, output={"labels": ["refund", "billing"]}, scores=scores))


# ------------------------------------------------------------------------------------------------------------- review


def test_each_reviewer_ticks_and_the_labels_that_both_tick_are_the_decision(bench: Bench) -> None:
    bench.pushed(row("t-1", {"refund": 0.7, "billing": 0.6, "cancel": 0.1}))
    shown, ticked = page_of(bench, "t-1")
    assert ticked == ["refund", "billing"]
    assert "Tick every label that fits" in shown["criteria"]
    for reviewer in (ANA, BEN):
        answer(bench, "t-1", reviewer, "billing", "refund")
    bench.brought_back()
    decision = bench.decision("t-1")
    assert (decision.outcome, decision.output) == (Outcome.ACCEPTED, {"labels": ["billing", "refund"]})


def test_an_empty_page_corrects_and_a_rejection_rejects(bench: Bench) -> None:
    scores = {"refund": 0.9, "billing": 0.2, "cancel": 0.1}
    bench.pushed(row("none", scores), row("private", scores))
    answer(bench, "none", ANA)
    answer(bench, "private", ANA, "refund", **{REJECT: (CANT_ANSWER,), NONE_BECAUSE: ("it holds personal data",)})
    bench.brought_back()
    none, private = bench.decision("none"), bench.decision("private")
    assert (none.outcome, none.output) == (Outcome.CORRECTED, {"labels": []})
    assert (private.outcome, private.output, private.reason_codes) == (Outcome.REJECTED, None, ("it holds personal data",))


def test_the_adjudicator_begins_with_the_labels_that_nobody_disputes(bench: Bench) -> None:
    bench.pushed(row("t-1", {"refund": 0.7, "billing": 0.6, "cancel": 0.1}))
    answer(bench, "t-1", ANA, "billing", "refund")
    answer(bench, "t-1", BEN, "refund", "cancel")
    bench.brought_back()
    assert bench.item("t-1").route.tier == ADJUDICATION
    bench.bridge.push()
    shown, ticked = page_of(bench, "t-1")
    assert ticked == ["refund"]
    assert sorted(each["Answer"] for each in shown["answers"]) == ["billing · refund", "cancel · refund"]
    answer(bench, "t-1", DEE, "refund", "cancel", rationale=("It says so.",))
    bench.brought_back()
    assert json.loads(json.dumps(bench.decision("t-1").output)) == {"labels": ["cancel", "refund"]}


def test_costs_by_label_are_refused(tmp_path: Path) -> None:
    policy = SEVERAL + "triage: {error_budget: 0.05, costs: {refund: 5}}\n"
    with pytest.raises(SettingsError, match="several parts"):
        Bench(without_git(tmp_path / "ws", policy))


# ------------------------------------------------------------------------------------------------ a project of the past


def test_several_labels_of_a_project_of_the_past_are_adopted_label_by_label(bench: Bench) -> None:
    shelf = Shelf(
        [
            a_task(1, said(11, "refund", "billing"), predicted=("refund", "billing"), score=0.8),
            a_task(2, said(21)),
            a_task(3, said(31, "refund", "cancel", reviewer=ANA), said(32, "refund", reviewer=BEN), said(33, "refund")),
            a_task(4, said(41, "refund", reviewer=ANA), said(42, reviewer=BEN)),
            a_task(5, said(51, "refund", "tax")),
        ]
    )
    result = adopted(bench, shelf)
    assert (result.decisions, result.disputed) == (3, 1)
    assert [(problem.row, problem.reason) for problem in result.problems] == [
        (5, "label 'tax' is not one of this workspace's labels")
    ]
    found = {number: bench.decision(f"ls-42-{number}") for number in (1, 2, 3)}
    assert (found[1].output, found[1].outcome) == ({"labels": ["billing", "refund"]}, Outcome.ACCEPTED)
    assert (found[2].output, found[2].outcome) == ({"labels": []}, Outcome.CORRECTED)
    assert found[3].output == {"labels": ["refund"]}
