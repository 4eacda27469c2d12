"""What was decided before, and labels that reviewers miss."""

from __future__ import annotations

from pathlib import Path

from hitl_bridge.core.task_types.controls import LABEL, NEW_LABEL, NONE_BECAUSE
from tests.cli.conftest import Run
from tests.services.bench import ANA, Bench


def test_similar_items_and_missing_labels_are_told(run: Run, workspace: Path) -> None:
    assert run("missing-labels").out.strip() == "Nobody has missed a label."
    assert run("ingest", "in.jsonl").code == 0
    assert "none is like t-2" in run("similar", "t-2").out
    bench = Bench(workspace)
    bench.bridge.push()
    wish = {LABEL: ("None of these",), NONE_BECAUSE: ("a label is missing",), NEW_LABEL: ("gift card",)}
    bench.labeling.answer(bench.task_id("t-1"), ANA, wish)
    bench.brought_back()
    bench.bridge.close()
    found = run("similar", "t-2", "--most", "1", "--json").json
    assert (found["item_id"], found["among"], found["new"]) == ("t-2", 1, 1)
    (like,) = found["similar"]
    assert like.keys() == {
        "item_id",
        "revision",
        "alike",
        "text",
        "outcome",
        "output",
        "decided",
        "rationale",
        "reason_codes",
        "decided_at",
    }
    assert (like["item_id"], like["decided"]) == ("t-1", "None of these: a label is missing")
    assert "the words of t-1" in run("similar", "t-2").out
    assert run("similar", "nobody").code == 2
    told = run("missing-labels", "--json").json
    assert told == [{"name": "gift card", "times": 1, "reviewers": 1, "items": ["t-1"], "names": ["gift card"]}]
    assert "gift card" in run("missing-labels").out
