"""What is late, and the channels of notices, on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run

NOTICES = "notices: {lead: [boss]}\n"


def test_deadlines_are_told_to_people_and_to_programs(run: Run, workspace: Path) -> None:
    assert run("deadlines").out.strip() == "Nothing waits for anybody."
    run("ingest", "in.jsonl")
    told = run("deadlines", "--json").json
    assert {"pool", "tier", "due", "at_risk", "overdue", "next_due"} == told["lines"][0].keys()
    assert sum(line["due"] for line in told["lines"]) == 2
    assert told["items"] == []
    assert "in time" in run("deadlines").out
    status = run("status", "--json").json
    assert (status["overdue"], status["at_risk"], status["deadlines"], status["notices_waiting"]) == (0, 0, told["lines"], 0)


def test_a_test_message_that_is_not_taken_is_a_problem_told_without_the_address(
    run: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("notices", "test").code == 2
    settings = workspace / "hitl.yaml"
    settings.write_text(settings.read_text() + NOTICES)
    monkeypatch.setenv("HITL_NOTICES", "boss json://me:SECRET@127.0.0.1:9/")
    ran = run("notices", "test", "--json")
    assert (ran.code, ran.json) == (1, {"boss": "it was not taken: the service is away, or refuses it"})
    assert "SECRET" not in run("notices", "test").out + ran.err
    assert run("notices", "test", "nobody").code == 2
    (channel,) = run("notices", "list", "--json").json
    assert channel == {"channel": "boss", "waiting": 0, "last_message": None, "not_taken": 0, "tries": 0, "tried_at": None}
    assert "boss" in run("notices", "list").out
