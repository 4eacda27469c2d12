"""`quarantine`, `failures` and `backup`, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitl_bridge.core.sync import push_key
from hitl_bridge.core.task_types.controls import LABEL
from tests.cli.conftest import Run
from tests.services.bench import ANA, BEN, Bench, row

BY = ("--by", "Dee")


@pytest.fixture
def doubted(workspace: Path) -> Path:
    """ANA's answer to t-1, edited by BEN, and one of hers to t-2 that can't be read."""
    bench = Bench(workspace)
    bench.pushed(row("t-1"), row("t-2"))
    bench.revise(bench.answer("t-1", ANA, "billing"), BEN, "cancel")
    bench.labeling.answer(bench.task_id("t-2"), ANA, {LABEL: ("refund", "cancel")})
    bench.brought_back()
    bench.bridge.close()
    return workspace


def test_the_quarantine_is_listed_and_ruled_on(run: Run, doubted: Path) -> None:
    listed = run("quarantine", "list", "--json").json
    assert [(line["item_id"], line["says"], line["reviewer"]) for line in listed] == [("t-1", "cancel", ANA), ("t-2", None, ANA)]
    assert listed[0].keys() == {"id", "item_id", "project", "link", "reviewer", "reason", "says", "rationale", "given_at"}
    shown = run("quarantine", "list")
    assert (shown.code, "cancel" in shown.out, "quarantine accept" in shown.out) == (0, True, True)
    ruled = run("quarantine", "accept", listed[0]["id"], "--reason", "she agrees", *BY, "--json").json
    assert (ruled["counts"], ruled["says"], ruled["by"]) == (True, "cancel", "Dee")
    refused = run("quarantine", "accept", listed[1]["id"], "--reason", "why not", *BY)
    assert (refused.code, refused.explains_itself()) == (2, True)
    dropped = run("quarantine", "drop", listed[1]["id"], "--reason", "two labels", *BY)
    assert (dropped.code, "does not count" in dropped.out) == (0, True)
    assert run("quarantine", "list", "--json").json == []
    assert "Nothing is in quarantine" in run("quarantine", "list").out


def test_a_ruling_on_what_is_not_there_or_without_a_reason_is_wrong_use(run: Run, doubted: Path) -> None:
    assert run("quarantine", "accept", 999, "--reason", "x", *BY).code == 2
    assert run("quarantine", "drop", 1, *BY).code == 2


def test_failures_are_listed_and_retried(run: Run, workspace: Path) -> None:
    bench = Bench(workspace)
    bench.ingest(row("t-1"))
    bench.labeling.refused[push_key(bench.bridge.settings.workspace_key, bench.item("t-1"))] = "too long"
    bench.bridge.push()
    bench.bridge.close()
    (line,) = run("failures", "list", "--json").json
    assert (line["item_id"], line["state"], line["reason"]) == ("t-1", "quarantined", "too long")
    assert "too long" in run("failures", "list").out
    assert run("failures", "retry").code == 2
    assert run("failures", "retry", "t-1", "--all", *BY).code == 2
    assert run("failures", "retry", "nobody", *BY).code == 2
    assert run("failures", "retry", "t-1", "--reason", "mended", *BY, "--json").json["item_ids"] == ["t-1"]
    assert run("failures", "retry", "--all", *BY, "--json").json["item_ids"] == []
    assert "No item was set aside" in run("failures", "list").out


def test_a_backup_is_made_and_verified(run: Run, workspace: Path) -> None:
    run("ingest", "in.jsonl")
    made = run("backup", "kept/b.db", "--json").json
    assert made["rows"]["items"] == 2
    assert run("backup", "--verify", "kept/b.db", "--json").json == made
    assert run("backup", "kept/b.db").code == 2
    assert run("backup", "--verify").code == 2
    Path("kept/b.db").write_bytes(b"something else")
    damaged = run("backup", "--verify", "kept/b.db")
    assert (damaged.code, damaged.explains_itself()) == (4, True)
    assert "Backed up" in run("backup").out
    assert len(list(Path(".hitl/backups").glob("bridge-*.db"))) == 1
