"""Champion, candidate, their evaluation and their predictions, stage by stage in one process."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hitl_bridge.core.model import Verdict
from hitl_bridge.errors import RefusedForSafety, UsageError
from hitl_bridge.stages.evaluate import evaluate
from hitl_bridge.stages.finetune import finetune
from hitl_bridge.stages.gate import gate
from hitl_bridge.stages.metrics import figures, macro_f1, outcomes
from hitl_bridge.stages.predict import predict
from hitl_bridge.stages.prepare import prepare
from tests.stages.workspaces import LABELS, promote, report, texts, write_lines


@pytest.fixture
def trained(workspace: Path) -> Path:
    """A workspace with a candidate."""
    prepare(workspace)
    finetune(workspace)
    return workspace


def test_the_champion_is_measured_on_the_same_items_and_its_pairs_make_the_verdict(trained: Path) -> None:
    champion = promote(trained)
    write_lines(trained / "data/base/train.jsonl", texts(30, 1, "t"))
    prepare(trained)
    finetune(trained)
    evaluate(trained)
    gate(trained)

    metrics, verdict = report(trained, "metrics.json"), report(trained, "verdict.json")
    assert metrics["champion"]["model_version"] == champion == verdict["champion"]
    assert metrics["candidate"]["overall"]["n"] == metrics["champion"]["overall"]["n"] == 120
    assert set(metrics["candidate"]["scenarios"]) == {"shop", "bank"}
    paired = pq.read_table(trained / "reports/paired.parquet")
    assert np.mean(paired["champion_right"].to_pylist()) == pytest.approx(metrics["champion"]["overall"]["accuracy"])
    assert verdict["verdict"] in list(Verdict)
    assert all(test["reason"] for test in verdict["tests"])
    assert verdict["leakage"]["shared_with_train"]["holdout"] == {"item_id": 0, "group": 0, "input": 0, "near_duplicate": 0}
    rows = list(csv.DictReader((trained / "reports/plots/scenarios.csv").open()))
    assert {row["slice"] for row in rows} >= {"shop (candidate)", "shop (champion)"}


def test_a_champion_with_a_changed_an_added_or_a_missing_file_is_not_opened(trained: Path) -> None:
    promote(trained)
    model = trained / "models/champion/model.skops"
    sound = model.read_bytes()

    model.write_bytes(sound + b"x")
    with pytest.raises(RefusedForSafety, match=r"model\.skops"):
        evaluate(trained)
    model.write_bytes(sound)
    (trained / "models/champion/more").write_text("")
    with pytest.raises(RefusedForSafety, match="more"):
        evaluate(trained)
    (trained / "models/champion/more").unlink()
    model.unlink()
    with pytest.raises(RefusedForSafety, match=r"model\.skops"):
        evaluate(trained)


def test_a_proof_about_another_snapshot_is_not_taken_for_one(trained: Path) -> None:
    evaluate(trained)
    write_lines(trained / "data/base/train.jsonl", texts(30, 1, "t"))
    prepare(trained)

    with pytest.raises(UsageError, match="another snapshot"):
        gate(trained)


def test_an_empty_holdout_is_unverified(trained: Path) -> None:
    write_lines(trained / "data/base/holdout.jsonl", [])
    prepare(trained)
    finetune(trained)
    evaluate(trained)
    gate(trained)

    assert report(trained, "verdict.json")["verdict"] == "unverified"


def test_predictions_come_out_in_the_form_in_which_they_come_in(trained: Path, tmp_path: Path) -> None:
    rows = [{"item_id": row["item_id"], "input": row["input"]} for row in texts(7, 9, "p")]
    write_lines(
        tmp_path / "in.jsonl", [{**rows[0], "scenario": "shop", "attributes": {"amount": 3}}, *rows[1:], {"item_id": "bad"}]
    )
    heard: list[int] = []

    count = predict(trained, tmp_path / "in.jsonl", tmp_path / "out.jsonl", model="candidate", progress=heard.append)

    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert (count, heard) == (7, [7])
    assert set(out[1]) == {"item_id", "input", "prediction", "scores", "confidence", "model_version"}
    assert (out[0]["scenario"], out[0]["attributes"]) == ("shop", {"amount": 3})
    for prediction in out:
        assert set(prediction["scores"]) == set(LABELS)
        assert prediction["confidence"] == max(prediction["scores"].values())
        assert prediction["scores"][prediction["prediction"]["label"]] == prediction["confidence"]
        assert sum(prediction["scores"].values()) == pytest.approx(1, abs=1e-5)
    problems = [json.loads(line) for line in (tmp_path / "out.jsonl.problems.jsonl").read_text().splitlines()]
    assert problems == [{"file": "in.jsonl", "row": 8, "reason": "input must be an object"}]


def test_predicting_without_a_champion_says_what_to_do_and_with_one_uses_it(trained: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "in.jsonl", texts(3, 9, "p"))
    with pytest.raises(UsageError, match="no champion yet"):
        predict(trained, tmp_path / "in.jsonl", tmp_path / "out.jsonl")

    version = promote(trained)

    assert predict(trained, tmp_path / "in.jsonl", tmp_path / "out.jsonl") == 3
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["model_version"] == version


def test_a_champion_keeps_working_when_the_labels_of_the_workspace_change(trained: Path, tmp_path: Path) -> None:
    promote(trained)
    (trained / "hitl.yaml").write_text("task: text-classification\nlabels: [brand_new, technical, refund]\n")
    write_lines(tmp_path / "in.jsonl", texts(3, 9, "p"))

    predict(trained, tmp_path / "in.jsonl", tmp_path / "out.jsonl")

    prediction = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert list(prediction["scores"]) == sorted(["brand_new", "technical", "refund"])
    assert prediction["prediction"] == {"label": "refund"}


def test_the_model_version_names_the_content(trained: Path) -> None:
    first = json.loads((trained / "models/candidate/model.json").read_text())
    finetune(trained)
    assert json.loads((trained / "models/candidate/model.json").read_text()) == first

    (trained / "params.yaml").write_text((trained / "params.yaml").read_text().replace("C: 10", "C: 9"))
    finetune(trained)
    assert json.loads((trained / "models/candidate/model.json").read_text())["model_version"] != first["model_version"]


def test_figures_are_those_of_the_textbook() -> None:
    scores = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.3, 0.7, 0], [0.6, 0.4, 0]])
    found = outcomes(scores, [0, 0, 1, 1])

    assert figures(found, 10) == {"accuracy": 0.75, "macro_f1": pytest.approx(0.733333), "ece": pytest.approx(0.3), "n": 4}
    assert macro_f1(found) == pytest.approx((0.8 + 2 / 3) / 2)
    assert figures(outcomes(np.zeros((0, 3)), []), 10) == {"n": 0}
