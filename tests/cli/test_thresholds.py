"""`hitl-bridge thresholds`: from judged items to a threshold in force, and what each step says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitl_bridge.adapters.sql.store import open_store
from tests.cli.conftest import Run
from tests.services.bench import POLICY, Watch, row, write_rows
from tests.services.test_thresholds import Desk

BUDGET = POLICY.replace("auto: {max_risk: 0.1}", "auto: {max_risk: budget}").replace("uniform: 0.0", "uniform: 0.02")
BUDGET = BUDGET.replace("tiers:", "triage: {error_budget: 0.05, confidence: 0.9}\ntiers:", 1)


@pytest.fixture
def budgeted(workspace: Path) -> Path:
    (workspace / "hitl.yaml").write_text(BUDGET, encoding="utf-8")
    return workspace


def judged(workspace: Path, count: int) -> None:
    store = open_store("sqlite:///.hitl/bridge.db", workspace, key=bytes.fromhex("ab" * 32))
    Desk(store, Watch()).judged(count)
    store.close()


def tiers(run: Run, workspace: Path, name: str) -> object:
    file = write_rows(workspace / f"{name}.jsonl", [row(name, 0.999)])
    return run("ingest", file, "--json").json["tiers"]


def test_from_closed_to_in_force(budgeted: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("thresholds", "--help").code == 0
    before = run("thresholds", "show", "--json").json
    assert (before["by"], before["terms"]["error_budget"], before["models"]) == ("budget", 0.05, [])
    assert tiers(run, budgeted, "early") == {"auto": 0, "quick": 1, "comprehensive": 0}

    judged(budgeted, 400)
    assert run("thresholds", "choose", "--dry-run", "--json").json["models"][0]["did"] == "proposed"
    (model,) = run("thresholds", "choose", "--json").json["models"]
    assert (model["did"], model["state"], model["in_force"]) == ("proposed", "closed", [])
    assert model["overall"]["share_at_most"] <= 0.05

    refused = run("thresholds", "approve", "--reason", "I looked")
    assert refused.code == 4
    assert refused.explains_itself()
    assert tiers(run, budgeted, "middle") == {"auto": 0, "quick": 1, "comprehensive": 0}

    token = run("token", "new", "approver.dee", "--by", "Ana", "--json").json["token"]
    monkeypatch.setenv("HITL_APPROVER_TOKEN", token)
    signed = run("thresholds", "approve", "--reason", "I looked")
    assert signed.code == 0
    assert "signed off by approver.dee" in signed.out
    assert token not in signed.out + signed.err
    assert tiers(run, budgeted, "late") == {"auto": 1, "quick": 0, "comprehensive": 0}
    assert run("thresholds", "show", "--json").json["models"][0]["state"] == "open"


def test_people_read_what_is_promised_and_what_is_missing(budgeted: Path, run: Run) -> None:
    judged(budgeted, 30)
    said = run("thresholds").out
    assert "at most 5.00% of all items approved without a look and wrong; sure to 90%" in said
    assert "not yet:" in said
    assert "more labels needed" in said
    assert "closed: nothing is approved without a look" in said


def test_a_threshold_set_by_hand_is_called_so(workspace: Path, run: Run) -> None:
    judged(workspace, 60)
    assert "max_risk 0.1 was set by hand. Nothing is promised" in run("thresholds").out
    assert run("thresholds", "show", "--json").json["hand_set"] == 0.1
