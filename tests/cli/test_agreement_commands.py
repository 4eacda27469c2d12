"""Gold items and the reviewers' report."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run
from tests.services.bench import ANA, Bench, write_rows


def test_known_answers_are_added_and_the_report_tells_how_people_do(run: Run, workspace: Path) -> None:
    assert run("ingest", "in.jsonl").code == 0
    bench = Bench(workspace)
    bench.bridge.push()
    bench.answer("t-1", ANA, "refund")
    bench.brought_back()
    bench.bridge.close()
    write_rows(workspace / "gold.jsonl", [{"item_id": "t-1", "label": "cancel"}])
    added = run("gold", "add", "gold.jsonl", "--by", "Ana", "--json")
    assert (added.code, added.json) == (0, {"added": 1, "known": 1, "answered": 1, "left": 0})
    report = run("reviewers", "report", "--json").json
    assert [(line["name"], line["gold"], line["right"]) for line in report["reviewers"]] == [(ANA, 1, 0)]
    table = run("reviewers", "report").out
    assert "0 of 1" in table
    assert "in all" in run("gold", "list").out
    assert run("gold", "remove", "t-1", "--by", "Ana", "--json").json == {"removed": 1}
    assert run("gold", "remove", "t-1", "--by", "Ana").code == 2
