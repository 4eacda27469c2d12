"""Lots end to end: receipts in, audits answered, verdicts, thresholds, recalls, drift."""

from __future__ import annotations

import csv
import hashlib
import hmac
import json
from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
import responses
from typer.testing import CliRunner

from hitl_bridge.cli.app import app
from hitl_bridge.core.audits.lots import LotVerdict
from hitl_bridge.core.model import ItemState, Purpose, TaskState
from hitl_bridge.core.task_types.controls import LABEL, RATIONALE
from hitl_bridge.core.triage.calibration import Calibration
from hitl_bridge.core.triage.plan import Threshold
from hitl_bridge.errors import UnknownName, UsageError
from hitl_bridge.ports import CalibrationRow, Standing, ThresholdRow
from tests.services.bench import ANA, AUTO, DEE, POLICY, QUICK, Bench, row, without_git

HOOK = "https://shop.example.com/recalls"
BY_HAND = POLICY.replace("attributes:", "triage: {error_budget: 0.05}\nattributes:").replace(
    "audit: {rate: 1.0, uniform: 0.0, sla: 48h}", "audit: {rate: 0.5, uniform: 0.1, sla: 48h, lot: 1d}"
)
BY_BUDGET = BY_HAND.replace("auto: {max_risk: 0.1}", "auto: {max_risk: budget}")
WEEK = timedelta(days=7).total_seconds()


def a_bench(tmp_path: Path, policy: str = BY_HAND) -> Bench:
    return Bench(without_git(tmp_path / "workspace", policy))


def looked_at(bench: Bench, wrong: Collection[str] = ()) -> None:
    """Everybody who was asked blind answers; those among `wrong` get another label, which an adjudicator confirms."""
    blind = [item for item in bench.bridge.store.items_in(ItemState.PUSHED) if item.triage.purpose is not Purpose.REVIEW]
    answered(bench, {str(item.item_id): "billing" if item.item_id in wrong else "refund" for item in blind}, ANA)
    bench.bridge.push()
    answered(bench, {str(item.item_id): "billing" for item in blind if item.item_id in wrong}, DEE)


def answered(bench: Bench, labels: Mapping[str, str], reviewer: str) -> None:
    newest = {str(task.item_id): task for task in sorted(bench.tasks(), key=lambda task: (task.revision, task.round))}
    for item_id, label in labels.items():
        task_id = newest[item_id].task_id
        assert task_id is not None
        bench.labeling.answer(task_id, reviewer, {LABEL: (label,), RATIONALE: ("it says so",)})
    bench.brought_back()


def items(count: int, sure: float = AUTO, first: int = 0, **changes: object) -> list[dict[str, object]]:
    return [row(f"t-{number:04}", sure, **changes) for number in range(first, first + count)]


def test_a_lot_with_too_many_errors_is_held_once_and_what_it_released_is_listed(tmp_path: Path) -> None:
    bench = a_bench(tmp_path)
    bench.pushed(*items(120))
    names = [f"t-{number:04}" for number in range(120)]
    looked_at(bench, wrong=names[::2])
    kept = bench.bridge.keep_lots()
    (change,) = kept.changed
    assert change.verdict is LotVerdict.HELD
    assert change.tightened_to is not None
    assert change.tightened_to < 0.05
    assert bench.ingest(*items(5, first=900)).tiers["auto"] == 0, "the threshold set by hand is lowered"
    assert bench.bridge.keep_lots().changed == ()
    assert bench.bridge.status().held == [change.lot_id]
    assert bench.bridge.store.insights().last_event("lot.held") is not None
    seen = {str(task.item_id) for task in bench.tasks()}
    result = bench.bridge.recall(change.lot_id)
    assert result.path is not None
    listed = [json.loads(line)["item_id"] for line in Path(result.path).read_text().splitlines()]
    assert set(listed) == set(names) - seen
    assert result.items == len(listed)


def test_a_held_lot_stays_held_whatever_is_answered_later(tmp_path: Path) -> None:
    bench = a_bench(tmp_path)
    bench.pushed(*items(80))
    looked_at(bench, wrong=[f"t-{number:04}" for number in range(80)])
    (held,) = bench.bridge.keep_lots().held
    for task in bench.tasks(TaskState.LIVE):
        assert task.task_id is not None
        bench.labeling.answer(task.task_id, DEE, {LABEL: ("refund",), RATIONALE: ("on second thoughts",)})
    bench.brought_back()
    bench.clock.turn(WEEK)
    assert held not in [change.lot_id for change in bench.bridge.keep_lots().changed]
    assert [line.verdict for line in bench.bridge.audit_picture().lots] == [LotVerdict.HELD]


def test_a_lot_is_proven_only_when_its_period_is_over(tmp_path: Path) -> None:
    bench = a_bench(tmp_path)
    bench.pushed(*items(300))
    looked_at(bench)
    assert bench.bridge.keep_lots().changed == ()
    bench.clock.turn(WEEK)
    (change,) = bench.bridge.keep_lots().changed
    assert change.verdict is LotVerdict.PROVEN


def test_a_lot_with_too_few_audits_says_how_many_more_would_settle_it(tmp_path: Path) -> None:
    bench = a_bench(tmp_path)
    bench.pushed(*items(60))
    bench.bridge.keep_lots()
    bench.clock.turn(WEEK)
    (change,) = bench.bridge.keep_lots().changed
    assert change.verdict is LotVerdict.UNPROVEN
    (line,) = bench.bridge.audit_picture().lots
    assert line.error.waiting > 0
    assert line.error.audits == 0
    assert line.further_audits is not None


def test_a_held_lot_lowers_the_threshold_to_what_its_audits_bear(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, BY_BUDGET)
    _open_up_to(bench, 0.3)
    bench.pushed(*items(200, 0.99), *items(200, 0.8, first=200))
    looked_at(bench, wrong=[f"t-{number:04}" for number in range(200, 400)])
    before = bench.bridge.policy.plan.policy_version
    (change,) = bench.bridge.keep_lots().changed
    assert change.verdict is LotVerdict.HELD
    assert change.tightened_to == pytest.approx(0.01)
    assert [each.max_risk for each in bench.bridge.policy.plan.thresholds] == [pytest.approx(0.01)]
    assert bench.bridge.policy.plan.policy_version != before, "a new policy starts a new lot"


def test_a_held_lot_with_errors_at_every_risk_closes_the_auto_tier(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, BY_BUDGET)
    _open_up_to(bench, 0.3)
    bench.pushed(*items(60, 0.99))
    looked_at(bench, wrong=[f"t-{number:04}" for number in range(60)])
    assert bench.bridge.keep_lots().held
    assert all(each.max_risk < 0 for each in bench.bridge.policy.plan.thresholds)
    assert bench.ingest(*items(5, 0.99, first=900)).tiers["auto"] == 0


def _open_up_to(bench: Bench, max_risk: float) -> None:
    budget, store, now = bench.bridge.policy.budget, bench.bridge.store.thresholds(), bench.clock.now()
    calibration = Calibration("m1", "none", ())
    store.record_calibration(CalibrationRow(calibration, 10, "d" * 64, {}, now))
    bounds = (Threshold("m1", max_risk),)
    row_ = ThresholdRow("m1", Standing.APPROVED, calibration, bounds, budget.terms, {}, 10, "d" * 64, "ana", "to begin with", now)
    store.record(row_)
    bench.bridge.forget_policy()


def test_another_model_version_is_another_lot(tmp_path: Path) -> None:
    bench = a_bench(tmp_path)
    bench.ingest(*items(30))
    bench.ingest(*items(30, first=30, model_version="m2"))
    bench.bridge.keep_lots()
    assert {line.lot.model_version for line in bench.bridge.audit_picture().lots} == {"m1", "m2"}


def test_an_item_that_an_older_model_was_decided_on_counts_for_the_new_one_by_its_own_answer(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, BY_HAND.replace("rate: 0.5", "rate: 1.0"))
    bench.pushed(*items(40))
    looked_at(bench, wrong=[f"t-{number:04}" for number in range(20)])
    bench.ingest(*items(40, model_version="m2", prediction={"label": "billing"}))
    bench.bridge.keep_lots()
    errors = {line.lot.model_version: (line.error.audits, line.error.wrong) for line in bench.bridge.audit_picture().lots}
    assert errors == {"m1": (40, 20), "m2": (40, 20)}


def test_the_report_tells_error_by_scenario_and_the_whole_traffics_accuracy(tmp_path: Path) -> None:
    bench = a_bench(tmp_path)
    bench.pushed(*items(60, scenario="cards"), *items(60, first=60, scenario="loans"), *items(60, QUICK, first=120))
    looked_at(bench, wrong=[f"t-{number:04}" for number in range(60, 120)])
    bench.bridge.keep_lots()
    picture = bench.bridge.audit_picture()
    errors = {line.scenario: line.error.value for line in picture.scenarios}
    assert errors["cards"] == 0
    assert errors["loans"] == 1
    assert picture.accuracy is not None
    assert picture.accuracy.items == 180
    assert picture.accuracy.low <= picture.accuracy.value <= picture.accuracy.high
    assert "taken as 0" in picture.reviewers.says


def test_false_alarms_that_an_adjudicator_took_back_are_allowed_for_and_shown(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, BY_HAND.replace("rate: 0.5", "rate: 1.0"))
    bench.pushed(*items(150))
    answered(bench, {f"t-{number:04}": "billing" if number < 6 else "refund" for number in range(150)}, ANA)
    bench.bridge.push()
    answered(bench, {f"t-{number:04}": "refund" for number in range(6)}, DEE)
    bench.bridge.keep_lots()
    reviewers = bench.bridge.audit_picture().reviewers
    assert (reviewers.right, reviewers.alarms) == (150, 6)
    assert 0 < reviewers.false_alarm.high < 0.02
    assert bench.bridge.audit_picture().overall.wrong == 0


def test_without_a_promise_lots_are_measured_and_not_judged(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, BY_HAND.replace("triage: {error_budget: 0.05}\n", ""))
    bench.pushed(*items(40))
    looked_at(bench, wrong=[f"t-{number:04}" for number in range(40)])
    assert bench.bridge.keep_lots().changed == ()
    (line,) = bench.bridge.audit_picture().lots
    assert line.verdict is None
    assert line.error.wrong > 0


def test_drift_raises_the_audit_rate_until_a_person_lowers_it(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, BY_HAND.replace("rate: 0.5", "rate: 0.1"))
    bench.ingest(*items(1_000, 0.97), *items(100, 0.75, first=1_000))
    bench.bridge.keep_lots()
    bench.ingest(*items(190, 0.97, first=2_000), *items(15, 0.75, first=2_190))
    assert bench.bridge.keep_lots().alarms == ()
    bench.ingest(*items(120, 0.97, first=3_000), *items(120, 0.6, first=3_120))
    bench.clock.turn(5)
    assert bench.bridge.keep_lots().alarms == ("m1",)
    assert bench.bridge.policy.plan.audit_rate == pytest.approx(0.3)
    assert bench.bridge.status().audit_rate_raised
    drift = bench.bridge.audit_picture().drift
    assert [line.alarm for line in drift] == [True]
    bench.clock.turn(5)
    bench.bridge.lower_audit_rate(reason="a new product, all is well", by="Ana")
    assert bench.bridge.policy.plan.audit_rate == pytest.approx(0.1)
    assert bench.bridge.audit_picture().drift == ()
    with pytest.raises(UsageError, match="not raised"):
        bench.bridge.lower_audit_rate(reason="again", by="Ana")
    event = bench.bridge.store.insights().last_event("audit_rate")
    assert event is not None
    assert event.actor == "Ana"


@responses.activate
def test_the_webhook_is_told_until_it_takes_the_recall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HITL_RECALL_SECRET", "between us")
    bench = a_bench(tmp_path, BY_HAND.replace("lot: 1d", f"lot: 1d, recall_webhook: {HOOK}"))
    bench.pushed(*items(80))
    looked_at(bench, wrong=[f"t-{number:04}" for number in range(80)])
    responses.add(responses.POST, HOOK, status=503)
    first = bench.bridge.keep_lots()
    assert first.held
    assert first.recalled == ()
    assert "answered 503" in first.troubles[0]
    responses.replace(responses.POST, HOOK, status=204)
    assert bench.bridge.keep_lots().recalled == first.held
    assert bench.bridge.keep_lots().recalled == ()
    call = responses.calls[-1].request
    assert isinstance(call.body, bytes)
    digest = hmac.new(b"between us", call.body, hashlib.sha256).hexdigest()
    assert call.headers["X-Hitl-Bridge-Signature"] == f"sha256={digest}"
    said = json.loads(call.body)
    assert said["lot_id"] == first.held[0]
    assert said["last"] is True
    assert said["items"]


def test_a_recall_can_be_csv_and_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    bench = a_bench(tmp_path)
    bench.ingest(*items(50))
    bench.bridge.keep_lots()
    (line,) = bench.bridge.audit_picture().lots
    assert bench.bridge.recall(line.lot.lot_id, dry_run=True).items > 0
    assert not (bench.root / ".hitl" / "recalls").exists()
    result = bench.bridge.recall(line.lot.lot_id, out=tmp_path / "back.csv")
    with (tmp_path / "back.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == result.items
    with pytest.raises(UnknownName):
        bench.bridge.recall("2026-11-16-nothere")


def test_the_report_shows_each_interval_as_a_picture_and_a_held_lot_is_exit_code_1(tmp_path: Path) -> None:
    bench = a_bench(tmp_path)
    bench.pushed(*items(60, scenario="cards"), *items(20, first=60, scenario="loans"))
    looked_at(bench, wrong=[f"t-{number:04}" for number in range(80)])
    (lot_id,) = bench.bridge.keep_lots().held
    bench.bridge.close()
    shown = CliRunner().invoke(app, ["-C", str(bench.root), "audit", "report"], env={"COLUMNS": "200"})
    assert shown.exit_code == 1
    assert lot_id in shown.output
    assert "●" in shown.output
    assert "loans" in shown.output
    told = json.loads(CliRunner().invoke(app, ["-C", str(bench.root), "audit", "report", "--json"]).output)
    assert told["lots"][0]["verdict"] == "held"
    status = json.loads(CliRunner().invoke(app, ["-C", str(bench.root), "status", "--json"]).output)
    assert status["held"] == [lot_id]
    recalled = CliRunner().invoke(app, ["-C", str(bench.root), "recall", lot_id, "--out", str(tmp_path / "back.jsonl")])
    assert recalled.exit_code == 0
    assert (tmp_path / "back.jsonl").is_file()
