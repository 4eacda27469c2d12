"""The gate as a stage: the user's checks, limits, and what it cites."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitl_bridge.core.task_types import task_type
from hitl_bridge.errors import SettingsError
from hitl_bridge.stages.checks import read_checks
from hitl_bridge.stages.evaluate import evaluate
from hitl_bridge.stages.finetune import finetune
from hitl_bridge.stages.gate import gate
from hitl_bridge.stages.prepare import prepare
from hitl_bridge.stages.snapshot import FOLDER, read_examples
from tests.stages.workspaces import LABELS, PROJECT, decision, promote, report, write_version

CHECKS = """\
- name: refunds are refunds
  kind: minimum functionality
  label: refund
  cases:
    - money back please
    - "{please} return the payment"
  with: {please: [urgent, today]}
- name: an error is no refund
  kind: minimum functionality
  label: refund
  cases: [login fails on my phone]
- name: politeness makes no difference
  kind: invariance
  cases:
    - [cancel my subscription, please cancel my subscription]
"""


@pytest.fixture
def judged(workspace: Path) -> Path:
    """A workspace in which a candidate was measured, with two checks that it passes and one that it can't."""
    (workspace / "checks/mine.yaml").write_text(CHECKS)
    prepare(workspace)
    finetune(workspace)
    evaluate(workspace)
    return workspace


def with_gate(root: Path, line: str) -> None:
    name = line.split(":")[0]
    params = (root / "params.yaml").read_text().splitlines()
    (root / "params.yaml").write_text("".join(f"  {line}\n" if each.startswith(f"  {name}:") else f"{each}\n" for each in params))


def test_a_must_pass_case_that_fails_holds_the_candidate_and_is_told_without_its_text(judged: Path) -> None:
    assert gate(judged).startswith("Verdict: hold. 1 of 3 checks of your own fail: 'an error is no refund' fails 1 of 1 cases")

    checks = report(judged, "verdict.json")["checks"]
    assert [(check["cases"], check["failed"], check["passed"]) for check in checks] == [(3, 0, True), (1, 1, False), (1, 0, True)]
    written = (judged / "reports/checks.json").read_text() + (judged / "reports/verdict.md").read_text()
    assert "'technical' instead of 'refund'" in written
    assert "login" not in written


def test_with_the_check_mended_the_candidate_goes_through_and_the_champion_stands_beside_it(judged: Path) -> None:
    promote(judged)
    (judged / "checks/mine.yaml").write_text(
        CHECKS.replace("label: refund\n  cases: [login", "label: technical\n  cases: [login")
    )
    evaluate(judged)
    gate(judged)

    verdict = report(judged, "verdict.json")
    assert next(test for test in verdict["tests"] if test["name"] == "checks")["finding"] == "passed"
    assert [check["champion_failed"] for check in verdict["checks"]] == [0, 0, 0]


def test_size_and_latency_are_measured_and_kept_within_their_limits(judged: Path) -> None:
    (judged / "checks/mine.yaml").write_text("# none\n")
    evaluate(judged)
    files = [path for path in (judged / "models/candidate").rglob("*") if path.is_file()]
    assert report(judged, "metrics.json")["candidate"]["size_bytes"] == sum(path.stat().st_size for path in files)
    assert report(judged, "latency.json")["candidate"]["milliseconds_single"] > 0

    assert gate(judged).startswith("Verdict: promote")
    with_gate(judged, "max_size_mb: 0.001")
    assert "The model takes" in gate(judged)
    with_gate(judged, "max_size_mb: null")
    with_gate(judged, "max_latency_ms: 0")
    assert "An item takes" in gate(judged)
    assert report(judged, "verdict.json")["verdict"] == "hold"


def test_the_verdict_cites_by_what_training_and_holdout_were_compared(judged: Path) -> None:
    gate(judged)

    leakage = report(judged, "verdict.json")["leakage"]
    assert leakage["measured_on"] == leakage["sha256"]["holdout"]
    shared = ", ".join(name.replace("_", " ") for name in leakage["shared_with_train"]["holdout"])
    assert f"No holdout item was trained on (compared by {shared})." in (judged / "reports/verdict.md").read_text()


def test_an_edge_case_by_risk_alone_is_known_from_one_that_a_rule_named(workspace: Path) -> None:
    uniform = {"purpose": "uniform", "split": "holdout", "edge": True}
    rows = [decision("risky", "refund", risk=0.6, **uniform), decision("named", "refund", risk=0.1, **uniform)]
    write_version(workspace, "v0.1.0", rows, {"risky": "money back x", "named": "money back y"})

    prepare(workspace)

    found = {each.item_id: each.doubted for each in read_examples(workspace / FOLDER / "holdout.parquet") if each.edge}
    assert (found["risky"], found["named"], found["h0"]) == (True, False, False)


def test_every_mistake_in_a_file_of_checks_is_named_with_its_line(workspace: Path) -> None:
    (workspace / "checks/a.yaml").write_text(CHECKS)
    again = CHECKS.split("- name: an error")[0]
    (workspace / "checks/b.yaml").write_text(f"- name: x\n  kind: vibes\n- just a text\n{again}")
    kind = task_type("text-classification")

    with pytest.raises(SettingsError) as caught:
        read_checks(workspace, kind, LABELS)

    assert caught.value.path == "checks/b.yaml"
    assert [(problem.line, problem.where) for problem in caught.value.problems] == [
        (1, "checks"),
        (3, "checks"),
        (4, "refunds are refunds"),
    ]
    for broken in ("a: [", "name: x\n"):
        (workspace / "checks/b.yaml").write_text(broken)
        with pytest.raises(SettingsError, match=r"b\.yaml"):
            read_checks(workspace, kind, LABELS)


def test_without_the_folder_there_are_no_checks_and_the_template_s_own_file_is_one_that_can_be_filled_in(workspace: Path) -> None:
    (workspace / "checks").rmdir()
    assert read_checks(workspace, task_type("text-classification"), LABELS) == []

    (workspace / "checks").mkdir()
    template = (PROJECT / "checks/must-pass.yaml").read_text()
    examples = "".join(line.removeprefix("# ").removeprefix("#") + "\n" for line in template.splitlines()[3:])
    (workspace / "checks/must-pass.yaml").write_text(examples)
    assert len(read_checks(workspace, task_type("text-classification"), ("refund", "billing", "cancel", "technical"))) == 3
