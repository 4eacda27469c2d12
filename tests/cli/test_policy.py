"""`hitl-bridge policy`: what a change of hitl.yaml loosens, and who agrees to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.services.bench import POLICY, row, write_rows


def test_a_looser_policy_is_refused_until_an_approver_agrees(run: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_rows(workspace / "first.jsonl", [row("first")])
    assert run("ingest", first).code == 0
    assert run("policy", "show", "--json").json["loosens"] == []
    (workspace / "hitl.yaml").write_text(POLICY.replace("max_risk: 0.1", "max_risk: 0.2"), encoding="utf-8")
    second = write_rows(workspace / "second.jsonl", [row("second")])
    refused = run("ingest", second)
    assert (refused.code, refused.explains_itself()) == (4, True)
    shown = run("policy", "show", "--json")
    assert (shown.code, shown.json["loosens"]) == (1, ["tier 'auto': max_risk 0.2, was 0.1"])
    assert "max_risk 0.2, was 0.1" in run("policy", "show").out
    assert run("policy", "approve", "--reason", "Because").code == 4
    monkeypatch.setenv("HITL_APPROVER_TOKEN", run("token", "new", "approver.dee", "--json").json["token"])
    assert "agreed to by approver.dee" in run("policy", "approve", "--reason", "Two good months").out
    assert run("policy", "show", "--json").code == 0
    assert run("ingest", second).code == 0


def test_a_promotion_without_a_model_and_a_rollback_without_a_past_say_what_to_do(run: Run, workspace: Path) -> None:
    for command in (("promote",), ("rollback", "--by", "Ana")):
        said = run(*command, "--reason", "Now")
        assert said.code in (2, 4)
        assert said.explains_itself()
