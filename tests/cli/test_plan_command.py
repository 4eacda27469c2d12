"""`plan` and `trace --replay` on the command line."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.cli.conftest import Run
from tests.services.bench import AUTO, POLICY, row, write_rows

KEYS = {"unit", "level", "recorded", "policies", "roster", "budget", "notes"}
POLICY_KEYS = {
    "name",
    "policy_version",
    "tiers",
    "approved",
    "reviews",
    "adjudications",
    "hours",
    "escaped",
    "escaped_known",
    "escaped_share",
    "escaped_of_approved",
    "caught",
    "reviews_per_caught",
    "hours_per_caught",
    "looks",
    "unknown",
    "deadlines",
}


def test_plan_prints_its_keys_and_null_for_what_can_not_be_known(run: Run, workspace: Path) -> None:
    run("ingest", "in.jsonl")
    (workspace / "wider.yaml").write_text(POLICY.replace("max_risk: 0.1", "max_risk: 0.35"), encoding="utf-8")
    ran = run("plan", "--policy", "wider.yaml", "--items", 100, "--json")
    assert ran.code == 0
    assert ran.json.keys() >= KEYS
    assert ran.json["unit"] == "the next 100 items"
    assert all(policy.keys() >= POLICY_KEYS for policy in ran.json["policies"])
    today, wider = ran.json["policies"]
    assert today["reviews"] == {"expected": 100.0, "low": 100.0, "high": 100.0} or today["reviews"]["low"] >= 100
    assert (wider["escaped"], wider["hours"], wider["deadlines"]) == (None, None, None)
    assert wider["unknown"][0]["draws"] == 149


def test_plan_says_in_words_what_can_not_be_known(run: Run, workspace: Path) -> None:
    run("ingest", "in.jsonl")
    ran = run("plan")
    assert ran.code == 0
    assert "can't be known" in ran.out
    assert "only one day is recorded" in ran.out


def test_the_chart_is_written_where_it_is_asked_for(run: Run, workspace: Path) -> None:
    run("ingest", "in.jsonl")
    assert run("plan", "--chart", "plan.svg").code == 0
    assert (workspace / "plan.svg").read_text(encoding="utf-8").startswith("<svg ")
    for name in ("plan.png", "no/such/folder/plan.svg"):
        ran = run("plan", "--chart", name)
        assert (ran.code, ran.explains_itself()) == (2, True)


def test_a_policy_file_that_is_missing_or_wrong_is_wrong_use(run: Run, workspace: Path) -> None:
    run("ingest", "in.jsonl")
    (workspace / "wrong.yaml").write_text(POLICY.replace("quick:", "quik: {max_risk: high}\n  quick:"), encoding="utf-8")
    for name in ("nothing.yaml", "wrong.yaml"):
        ran = run("plan", "--policy", name)
        assert (ran.code, ran.explains_itself(), name in ran.err) == (2, True, True)


def test_nothing_to_plan_from_is_wrong_use(run: Run, workspace: Path) -> None:
    ran = run("plan")
    assert (ran.code, ran.explains_itself()) == (2, True)


def test_a_receipt_computed_again_is_the_same_or_names_what_differs(run: Run, workspace: Path) -> None:
    run("ingest", write_rows(workspace / "more.jsonl", [row("t-1", AUTO, scenario="a", attributes={"amount": 3.5})]))
    ran = run("trace", "t-1", "--replay")
    assert (ran.code, "the same" in ran.out) == (0, True)
    with closing(sqlite3.connect(workspace / ".hitl" / "bridge.db")) as connection, connection:
        connection.execute("""UPDATE policies SET content = replace(content, '"audit_rate":1.0', '"audit_rate":0.0')""")
    ran = run("trace", "t-1", "--replay", "--json")
    assert ran.code == 1
    [found] = ran.json["replayed"]
    assert found == {
        "revision": 1,
        "model_version": "m1",
        "policy_version": found["policy_version"],
        "differs": ["purpose", "audit_rate"],
        "problem": None,
        "same": False,
    }
    assert "different: purpose, audit_rate" in run("trace", "t-1", "--replay").out
    assert run("trace", "nobody", "--replay").code == 2
