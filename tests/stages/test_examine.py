"""Doubtful labels, learning curve and the table by slice."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hitl_bridge.core.task_types import task_type
from hitl_bridge.stages.doubtful_labels import doubtful, twins
from hitl_bridge.stages.examine import DOUBTFUL, examine
from hitl_bridge.stages.learner import Learner, out_of_fold
from hitl_bridge.stages.opinions import on_one_label
from hitl_bridge.stages.params import load_params
from hitl_bridge.stages.prepare import prepare
from hitl_bridge.stages.slices import slices
from hitl_bridge.stages.snapshot import Example
from tests.stages.workspaces import LABELS, WORDS, decision, texts, write_lines, write_version

KIND = task_type("text-classification")


def example(item_id: str, text: str, label: str) -> Example:
    return Example(item_id, {"text": text}, label, None, False, None, "decisions", "v0.1.0")


def examples(n: int) -> list[Example]:
    return [example(row["item_id"], row["input"]["text"], row["output"]["label"]) for row in texts(n, 3, "e")]


def test_planted_wrong_labels_are_ranked_first(workspace: Path) -> None:
    there = examples(120)
    wrong = np.random.default_rng(0).choice(len(there), 12, replace=False)
    names = list(WORDS)
    for place in wrong:
        other = names[(names.index(there[place].label) + 1) % len(names)]
        there[place] = example(there[place].item_id, str(there[place].input["text"]), other)
    scores = out_of_fold(Learner.of(workspace, load_params(workspace)), there, 5)

    found = doubtful(there, KIND, on_one_label(there, LABELS, scores), alike=1.0)

    planted = {there[place].item_id for place in wrong}
    assert len(planted & {each.item_id for each in found[: len(planted)]}) >= 0.7 * len(planted)
    assert all(each.rather is not None and each.rather != each.label for each in found)


def test_a_model_is_not_asked_about_a_label_that_it_has_not_seen(workspace: Path) -> None:
    there = [*examples(12), example("alone", "my card is green", "never_seen")]

    scores = out_of_fold(Learner.of(workspace, load_params(workspace)), there, 3)

    assert np.isnan(scores[-1]).all()
    assert np.isfinite(scores[:-1]).all()
    assert "alone" not in {each.item_id for each in doubtful(there, KIND, on_one_label(there, LABELS, scores), 0.9)}


def test_twins_with_different_labels_are_found_whatever_their_case_and_with_a_word_more() -> None:
    said = [
        "Where is my card that I ordered last week?",
        "where is my card  that I ordered last week?",
        "Where is my card that I ordered last weekend?",
        "I want to close my account",
        "I was charged twice for the same thing",
    ]

    assert twins(said, ["arrival", "lost", "arrival", "close", "refund"], alike=0.65) == {0: 1, 1: 0, 2: 1}
    assert twins(said, ["arrival", "arrival", "lost", "close", "refund"], alike=1.0) == {}
    assert twins(said, ["same"] * 5, alike=0.5) == {}


def test_what_a_twin_and_a_model_both_speak_against_comes_first() -> None:
    there = [example("a", "one", "x"), example("b", "one", "y"), example("c", "two", "x")] + [
        example(f"{label}{n}", f"{label} {n}", label) for label in "xy" for n in range(20)
    ]
    scores = np.array([[0.1, 0.9], [0.1, 0.9], [0.05, 0.95]] + [[0.9, 0.1]] * 20 + [[0.1, 0.9]] * 20)

    found = doubtful(there, KIND, on_one_label(there, ["x", "y"], scores), 1.0)

    assert [each.item_id for each in found] == ["a", "c", "b"]
    assert (found[0].rather, found[0].twin, found[0].twin_label, found[0].support) == ("y", "b", "y", 0.1)
    assert (found[2].rather, found[2].twin) == (None, "a")


@pytest.fixture
def with_versions(workspace: Path) -> Path:
    for number, version in enumerate(("v0.1.0", "v0.2.0", "v0.10.0")):
        rows = texts(12, 20 + number, f"d{number}-")
        records = [decision(row["item_id"], row["output"]["label"]) for row in rows]
        write_version(workspace, version, records, {row["item_id"]: row["input"]["text"] for row in rows})
    return workspace


def test_the_learning_curve_has_a_point_for_the_base_and_for_versions_in_their_order(with_versions: Path) -> None:
    prepare(with_versions)
    examine(with_versions)

    with (with_versions / "reports/plots/learning.csv").open() as file:
        curve = list(csv.DictReader(file))
    assert [each["version"] for each in curve] == ["base", "v0.1.0", "v0.2.0", "v0.10.0"]
    trained_on = json.loads((with_versions / "reports/data.json").read_text())["counts"]["train"]
    rows = [int(each["rows"]) for each in curve]
    assert (rows[0], rows[-1]) == (trained_on["sources"]["base"], trained_on["rows"])
    assert rows == sorted(rows)
    assert all(0 <= float(each["accuracy"]) <= 1 and each["edge_accuracy"] for each in curve)
    report = json.loads((with_versions / DOUBTFUL).read_text())
    assert (report["examined"], report["folds"]) == (trained_on["rows"], 5)
    assert "I think" not in (with_versions / DOUBTFUL).read_text()


def test_fewer_points_are_spread_evenly_and_what_is_switched_off_is_not_computed(with_versions: Path) -> None:
    params = with_versions / "params.yaml"
    params.write_text(params.read_text().replace("points: 5 ", "points: 2 ").replace("folds: 5 ", "folds: 0 "))
    prepare(with_versions)
    examine(with_versions)

    with (with_versions / "reports/plots/learning.csv").open() as file:
        assert [each["version"] for each in csv.DictReader(file)] == ["base", "v0.10.0"]
    assert json.loads((with_versions / DOUBTFUL).read_text())["folds"] == 0


def test_too_little_to_look_at_is_no_error(workspace: Path) -> None:
    write_lines(workspace / "data/base/train.jsonl", texts(4, 1, "t"))
    prepare(workspace)

    assert examine(workspace) == "0 of 4 labels are doubtful."


def test_a_slice_says_how_many_the_candidate_alone_has_right_and_alone_wrong() -> None:
    paired = pa.table(
        {
            "label": ["x", "x", "y", "y"],
            "scenario": ["shop", None, "shop", "bank"],
            "edge": [True, False, False, False],
            "candidate_right": [True, True, False, True],
            "champion_right": [False, True, True, True],
        }
    )

    rows = {str(each[0]): each[1:] for each in slices(paired)}

    assert rows["overall"] == (4, 0.75, 0.75, 0.0, 1, 1)
    assert rows["edge cases"] == (1, 1.0, 0.0, 1.0, 1, 0)
    assert rows["label: y"] == (2, 0.5, 1.0, -0.5, 0, 1)
    assert set(rows) == {"overall", "edge cases", "scenario: bank", "scenario: shop", "label: x", "label: y"}
    assert slices(paired.drop_columns("champion_right"))[0] == ("overall", 4, 0.75, "", "", "", "")
