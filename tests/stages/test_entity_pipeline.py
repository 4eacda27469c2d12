"""Entities through the stages: by a command of one's own to a verdict, and which of them are doubtful."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from hitl_bridge.core.task_types import task_type
from hitl_bridge.stages.evaluate import evaluate
from hitl_bridge.stages.examine import DOUBTFUL, examine
from hitl_bridge.stages.finetune import finetune
from hitl_bridge.stages.gate import gate
from hitl_bridge.stages.predict import predict
from hitl_bridge.stages.prepare import prepare
from tests.stages.entity_texts import LABELS, texts
from tests.stages.workspaces import PROJECT, Row, promote, report, write_lines

KIND = task_type("entities")
OURS = """\
import json, os, pathlib, sys
model, lines = pathlib.Path(os.environ["HITL_MODEL_DIR"], "words.json"), lambda name: map(json.loads, open(os.environ[name]))
if sys.argv[1] == "train":
    found = ((row["input"]["text"][each["start"]:each["end"]], each["label"])
             for row in lines("HITL_TRAIN") for each in row["output"]["entities"])
    model.write_text(json.dumps(dict(found), sort_keys=True))
else:
    words = json.loads(model.read_text())
    with open(os.environ["HITL_SCORES"], "w") as out:
        for row in lines("HITL_INPUTS"):
            text = row["input"]["text"]
            spans = [(text.find(word), text.find(word) + len(word), label) for word, label in words.items() if word in text]
            entities = [dict(zip(("start", "end", "label"), span)) for span in spans]
            answer = {"item_id": row["item_id"], "prediction": {"entities": entities}, "confidence": 0.9}
            out.write(json.dumps(answer) + "\\n")
"""


@pytest.fixture
def entities(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    for folder in ("data/base", "data/decisions", "data/payloads", "models", "checks"):
        (root / folder).mkdir(parents=True)
    (root / "params.yaml").write_text((PROJECT / "params.yaml").read_text("utf-8").replace("sklearn-text", "sklearn-entities"))
    (root / "hitl.yaml").write_text(f"task: entities\nlabels: {json.dumps(LABELS)}\n")
    (root / "models/champion.json").write_text('{"model_version": null}\n')
    write_lines(root / "data/base/train.jsonl", texts(120, 1, "t"))
    write_lines(root / "data/base/holdout.jsonl", texts(120, 2, "h"))
    return root


def by_command(root: Path) -> None:
    (root / "ours.py").write_text(OURS)
    step = {name: [sys.executable, "ours.py", name] for name in ("train", "score")}
    (root / "params.yaml").write_text(json.dumps({"train": {"trainer": "command", "name": "ours", "options": step}}))


def test_a_command_that_marks_entities_is_trained_measured_gated_and_asked_for_predictions(entities: Path) -> None:
    by_command(entities)
    prepare(entities)
    finetune(entities)
    evaluate(entities)
    assert gate(entities).startswith("Verdict: promote")

    overall = report(entities, "metrics.json")["candidate"]["overall"]
    assert overall["f1"] > 0.8
    assert 0 < overall["accuracy"] < 1
    version = promote(entities)
    write_lines(entities / "in.jsonl", [{"item_id": "p-1", "input": {"text": "😀 Oslo is where Dee lives"}}])
    assert predict(entities, entities / "in.jsonl", entities / "out.jsonl") == 1
    (row,) = [json.loads(line) for line in (entities / "out.jsonl").read_text().splitlines()]
    assert (row["confidence"], row["model_version"]) == (0.9, version)
    assert row["prediction"]["entities"] == [
        {"start": 2, "end": 6, "label": "location"},
        {"start": 16, "end": 19, "label": "person"},
    ]


def test_where_no_more_than_the_answers_is_known_no_model_looks_and_that_is_said(entities: Path) -> None:
    by_command(entities)
    params = json.loads((entities / "params.yaml").read_text())
    (entities / "params.yaml").write_text(json.dumps({**params, "examine": {"points": 0}}))
    same = texts(2, 9, "same")[0]["input"]
    twins: list[Row] = [
        {"item_id": name, "input": same, "output": {"entities": [{"start": 0, "end": end, "label": "person"}]}}
        for name, end in (("one", 2), ("other", 3))
    ]
    write_lines(entities / "data/base/train.jsonl", [*texts(20, 1, "t"), *twins])
    prepare(entities)

    assert "Set train.trainer to sklearn-entities" in examine(entities)
    found = json.loads((entities / DOUBTFUL).read_text())
    assert "No model has looked" in found["note"]
    assert {each["item_id"]: (each["rather"], each["twin"]) for each in found["doubtful"]} == {
        "one": (None, "other"),
        "other": (None, "one"),
    }


def test_planted_wrong_entities_are_ranked_first_and_told_without_a_word_of_the_text(entities: Path) -> None:
    rows = texts(60, 1, "t")
    wrong = np.random.default_rng(0).choice([n for n, row in enumerate(rows) if row["output"]["entities"]], 6, replace=False)
    for number, place in enumerate(wrong):
        given = rows[place]["output"]["entities"]
        other = {"person": "location", "location": "person"}[given[0]["label"]]
        rows[place]["output"] = {"entities": given[1:] if number % 2 else [{**given[0], "label": other}, *given[1:]]}
    write_lines(entities / "data/base/train.jsonl", rows)
    every = (
        "prepare: {near_duplicates: null}\nexamine: {points: 0}\ntrain: {trainer: sklearn-entities, options: {max_iter: 20}}\n"
    )
    (entities / "params.yaml").write_text(every)
    prepare(entities)
    examine(entities)

    found = json.loads((entities / DOUBTFUL).read_text())
    assert (found["note"], found["examined"]) == ("", 60)
    planted = {rows[place]["item_id"] for place in wrong}
    listed = found["doubtful"]
    assert len(planted & {each["item_id"] for each in listed[: len(planted)]}) >= 0.7 * len(planted)
    assert all(each["support"] is not None and each["rather"] != each["label"] for each in listed)
    by_id = {row["item_id"]: row for row in rows}
    assert all(each["label"] == KIND.text(by_id[each["item_id"]]["output"]) for each in listed)
    assert "Lisbon" not in json.dumps(listed)
