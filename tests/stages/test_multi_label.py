"""Texts with several labels through the stages: trained, measured label by label, gated as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hitl_bridge.errors import SettingsError
from hitl_bridge.stages.artifacts import load_candidate
from hitl_bridge.stages.calibrate import SCORES, calibrate
from hitl_bridge.stages.evaluate import evaluate
from hitl_bridge.stages.examine import DOUBTFUL, examine
from hitl_bridge.stages.finetune import finetune
from hitl_bridge.stages.gate import gate
from hitl_bridge.stages.params import load_params
from hitl_bridge.stages.predict import predict
from hitl_bridge.stages.prepare import prepare
from hitl_bridge.stages.trainers import Labelled, Setup, Unlabelled, trainer
from tests.stages.several_labels import LABELS, Row, texts
from tests.stages.workspaces import PROJECT, decision, promote, report, write_lines, write_version


def labelled(rows: list[Row]) -> list[Labelled]:
    return [Labelled(row["item_id"], row["input"], "", row["output"]) for row in rows]


@pytest.fixture
def several(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    for folder in ("data/base", "data/decisions", "data/payloads", "models", "checks"):
        (root / folder).mkdir(parents=True)
    params = (
        (PROJECT / "params.yaml").read_text(encoding="utf-8").replace("trainer: sklearn-text", "trainer: sklearn-multi-label")
    )
    (root / "params.yaml").write_text(params, encoding="utf-8")
    (root / "hitl.yaml").write_text(f"task: multi-label-text\nlabels: {json.dumps(LABELS)}\n", encoding="utf-8")
    (root / "models/champion.json").write_text('{"model_version": null}\n')
    write_lines(root / "data/base/train.jsonl", texts(120, 1, "t"))
    write_lines(root / "data/base/holdout.jsonl", texts(120, 2, "h"))
    return root


def test_each_label_has_a_probability_of_its_own_and_no_label_is_an_answer(tmp_path: Path) -> None:
    rows = texts(120, 1, "t")
    setup = Setup(tmp_path, LABELS)
    fitted = trainer("sklearn-multi-label").train(labelled(rows), setup, tmp_path)
    model = trainer("sklearn-multi-label").load(tmp_path, setup, json.loads(json.dumps(fitted)))
    scores = model.scores([Unlabelled(row["item_id"], row["input"]) for row in texts(60, 2, "h")])  # type: ignore[union-attr]
    truth = np.array([[label in row["output"]["labels"] for label in LABELS] for row in texts(60, 2, "h")])

    assert ((scores >= 0.5) == truth).mean() > 0.95
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores[:, 3].max() == 0
    assert set(scores.sum(axis=1).round(1)) - {1.0}


def test_the_same_examples_give_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        trainer("sklearn-multi-label").train(labelled(texts(30, 1, "t")), Setup(tmp_path, LABELS), tmp_path / name)
    assert (tmp_path / "one/model.skops").read_bytes() == (tmp_path / "two/model.skops").read_bytes()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_handful_of_examples_is_enough_not_to_crash(tmp_path: Path, n: int) -> None:
    setup = Setup(tmp_path, LABELS)
    fitted = trainer("sklearn-multi-label").train(labelled(texts(n, 1, "t")), setup, tmp_path)
    scores = trainer("sklearn-multi-label").load(tmp_path, setup, fitted).scores([Unlabelled("x", {"text": "an error"})])  # type: ignore[union-attr]
    assert scores.shape == (1, 4)
    assert np.isfinite(scores).all()


def test_from_base_data_and_decisions_to_a_verdict(several: Path) -> None:
    new = texts(40, 3, "n")
    records = [decision(row["item_id"], None, decision=json.dumps(row["output"])) for row in new]
    records.append(decision("u-1", None, decision='{"labels": ["refund"]}', purpose="uniform", split="calibration"))
    write_version(several, "v0.1.0", records, {row["item_id"]: row["input"]["text"] for row in new} | {"u-1": "a refund please"})

    assert "1 calibration, 120 holdout" in prepare(several)
    finetune(several)
    evaluate(several)
    examine(several)
    assert gate(several).startswith("Verdict: promote")

    overall = report(several, "metrics.json")["candidate"]["overall"]
    assert overall["accuracy"] > 0.8
    assert overall["f1"] > 0.9
    assert overall["macro_f1"] > 0.9
    rows = {line.split(",")[0]: line for line in (several / "reports/plots/slices.csv").read_text().splitlines()}
    assert {"label: refund", "label: cancel", "label: technical"} <= rows.keys()
    assert int(rows["label: refund"].split(",")[1]) < 120

    version = promote(several)
    calibrate(several)
    import pyarrow.parquet as pq

    (said,) = pq.read_table(several / SCORES).to_pylist()
    assert (said["item_id"], json.loads(said["output"])) == ("u-1", {"labels": ["refund"]})
    assert 0.5 < said["confidence"] <= said["score:refund"]

    write_lines(several / "in.jsonl", [{"item_id": "p-1", "input": {"text": "cancel and money back"}}])
    assert predict(several, several / "in.jsonl", several / "out.jsonl") == 1
    (row,) = [json.loads(line) for line in (several / "out.jsonl").read_text().splitlines()]
    assert row["prediction"] == {"labels": ["cancel", "refund"]}
    product = np.prod([max(score, 1 - score) for score in row["scores"].values()])
    assert row["confidence"] == pytest.approx(product, abs=1e-4)
    assert row["model_version"] == version
    assert load_candidate(several, LABELS).model_version == version


def test_a_trainer_that_knows_one_label_an_item_is_refused_with_those_that_fit(several: Path) -> None:
    (several / "params.yaml").write_text("train: {trainer: sklearn-text}\n")
    with pytest.raises(SettingsError, match="sklearn-multi-label, command"):
        load_params(several)


def test_labels_put_wrong_are_listed_with_the_answer_that_a_model_would_rather_give(several: Path) -> None:
    rows = texts(300, 1, "t")
    wrong = np.random.default_rng(0).choice(len(rows), 24, replace=False)
    meant = {rows[place]["item_id"]: sorted(rows[place]["output"]["labels"]) for place in wrong}
    for place in wrong:
        given = rows[place]["output"]["labels"]
        rows[place]["output"] = {"labels": given[1:] if given else ["refund"]}
    rows[-1]["output"] = {"labels": [*rows[-1]["output"]["labels"], "never_seen"]}
    write_lines(several / "data/base/train.jsonl", rows)
    every = "prepare: {near_duplicates: null}\nexamine: {points: 0}\ntrain: {trainer: sklearn-multi-label}\n"
    (several / "params.yaml").write_text(every)
    prepare(several)
    examine(several)

    first = json.loads((several / DOUBTFUL).read_text())["doubtful"][: len(meant)]
    hits = [each for each in first if each["item_id"] in meant]
    assert len(hits) >= 0.7 * len(meant)
    told = {each["item_id"]: each["rather"] for each in hits}
    right = [told[name] == (" · ".join(meant[name]) or "no label") for name in told]
    assert sum(right) >= 0.8 * len(right)
    assert rows[-1]["item_id"] not in {each["item_id"] for each in first}
