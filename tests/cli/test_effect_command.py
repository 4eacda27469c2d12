"""`effect` at the command line: the figures, the table, and what is said where a version is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hitl_bridge.stages.prepare import prepare
from tests.cli.conftest import Run
from tests.stages.workspaces import LABELS, PROJECT, decision, texts, write_lines, write_version

WRONG = {"refund": "cancel", "cancel": "technical", "technical": "refund"}


@pytest.fixture
def taught(tmp_path: Path) -> Path:
    """Base data and a version that teach the labels, and a version that turns most of them round."""
    root = tmp_path / "workspace"
    for folder in ("data/decisions", "data/payloads", "models"):
        (root / folder).mkdir(parents=True)
    params = (PROJECT / "params.yaml").read_text(encoding="utf-8")
    (root / "params.yaml").write_text(params.replace("calibration_folds: 5", "calibration_folds: 2"))
    (root / "hitl.yaml").write_text(f"task: text-classification\nlabels: {json.dumps(LABELS)}\n")
    write_lines(root / "data/base/train.jsonl", texts(12, 1, "t"))
    write_lines(root / "data/base/holdout.jsonl", texts(120, 2, "h"))
    rows = texts(120, 7, "d")
    inputs = {row["item_id"]: row["input"]["text"] for row in rows}
    write_version(root, "v0.1.0", [decision(row["item_id"], row["output"]["label"]) for row in rows], inputs)
    turned = [decision(row["item_id"], WRONG[row["output"]["label"]], op="change", seq=1) for row in rows[:90]]
    write_version(root, "v0.1.1", turned, {})
    prepare(root)
    return root


def test_what_a_version_did_is_told_as_figures_and_as_a_table_that_names_the_flips(run: Run, taught: Path) -> None:
    told = run("-C", taught, "effect", "--version", "v0.1.1", "--json")
    found = told.json
    assert (told.code, found["version"], found["n"], found["seen"]) == (0, "v0.1.1", 120, True)
    assert found["low"] <= found["gain"] <= found["high"] < 0
    assert found["accuracy_with"] == pytest.approx(found["accuracy_without"] + found["gain"])
    assert 80 <= found["items"] <= 90  # those that are nearly a held-out item train in neither
    assert found["flips"][0].keys() == {"item_id", "label", "without", "with_it"}
    table = run("-C", taught, "effect", "--version", "v0.1.1")
    assert (table.code, "an effect beyond chance" in table.out) == (0, True)
    assert found["flips"][0]["item_id"] in table.out


def test_a_version_that_is_not_there_is_wrong_use_and_those_that_are_there_are_named(run: Run, taught: Path) -> None:
    refused = run("-C", taught, "effect", "--version", "v9.0.0")
    assert (refused.code, refused.explains_itself()) == (2, True)
    assert "v0.1.0, v0.1.1" in refused.err
