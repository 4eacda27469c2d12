from __future__ import annotations

import base64
import io
import json
import os
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import skops.io
from PIL import Image
from sklearn.datasets import load_digits

from hitl_bridge.core.model import JSON
from hitl_bridge.core.task_types import task_type
from hitl_bridge.errors import BridgeError, RefusedForSafety, UsageError
from hitl_bridge.stages.trainers import AnsweringModel, Labelled, Model, Scores, Setup, Unlabelled, trainer, with_scores
from hitl_bridge.stages.trainers import estimator as files
from tests.stages.workspaces import PROJECT, WORDS, texts

LABELS = (*WORDS, "never_seen")


def examples(n: int, seed: int = 1) -> list[Labelled]:
    return [Labelled(row["item_id"], row["input"], row["output"]["label"]) for row in texts(n, seed, "t")]


def unlabelled(rows: list[Labelled]) -> list[Unlabelled]:
    return [Unlabelled(row.item_id, row.input) for row in rows]


def trained(name: str, rows: list[Labelled], setup: Setup, folder: Path) -> Model:
    folder.mkdir(exist_ok=True)
    fitted = trainer(name).train(rows, setup, folder)
    return with_scores(trainer(name).load(folder, setup, json.loads(json.dumps(fitted))))


def right(scores: Scores, rows: list[Labelled], labels: tuple[str, ...]) -> float:
    return float(np.mean([labels[best] == row.label for best, row in zip(scores.argmax(axis=1), rows, strict=True)]))


def test_the_text_trainer_learns_and_its_scores_are_probabilities_over_all_labels(tmp_path: Path) -> None:
    held_out = examples(60, seed=2)
    scores = trained("sklearn-text", examples(90), Setup(tmp_path, LABELS), tmp_path / "m").scores(unlabelled(held_out))

    assert right(scores, held_out, LABELS) > 0.95
    assert scores.sum(axis=1) == pytest.approx(1)
    assert scores[:, 3].max() == 0
    assert 0.5 < scores.max(axis=1).mean() < 0.9999


def test_the_same_examples_give_the_same_model_file_and_the_time_is_not_in_it(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        trained("sklearn-text", examples(40), Setup(tmp_path, LABELS), tmp_path / name)
        contents.append((tmp_path / name / "model.skops").read_bytes())

    assert contents[0] == contents[1]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_handful_of_examples_is_enough_not_to_crash(tmp_path: Path, n: int) -> None:
    scores = trained("sklearn-text", examples(n), Setup(tmp_path, LABELS), tmp_path / "m").scores(unlabelled(examples(5)))

    assert scores.shape == (5, 4)
    assert np.isfinite(scores).all()


def test_few_examples_of_many_labels_are_trained_on_without_a_warning(tmp_path: Path) -> None:
    labels = tuple(f"label {number}" for number in range(30))
    rows = [Labelled(f"t-{number}", {"text": f"word{number} here"}, labels[number % 30]) for number in range(40)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained("sklearn-text", rows, Setup(tmp_path, labels), tmp_path / "m")


def test_texts_without_a_word_and_no_texts_at_all_are_scored_too(tmp_path: Path) -> None:
    rows = [Labelled(str(n), {"text": text}, label) for n, (text, label) in enumerate([("🎈🎈", "refund"), ("💥", "cancel")] * 8)]
    model = trained("sklearn-text", rows, Setup(tmp_path, LABELS), tmp_path / "m")

    assert right(model.scores(unlabelled(rows)), rows, LABELS) == 1
    assert model.scores([]).shape == (0, 4)


def test_nothing_to_train_on_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to train on"):
        trainer("sklearn-text").train([], Setup(tmp_path, LABELS), tmp_path)
    with pytest.raises(UsageError, match=r"options\.C"):
        trainer("sklearn-text").train(examples(6), Setup(tmp_path, LABELS, options={"C": "much"}), tmp_path)
    with pytest.raises(UsageError, match="no trainer 'magic'"):
        trainer("magic")


def picture(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def test_the_image_trainer_reads_digits_as_data_uris_and_as_files(tmp_path: Path) -> None:
    digits = load_digits()
    labels = tuple(str(number) for number in range(10))
    rows = []
    for number in range(500):
        content = picture((digits.images[number] * 15).astype(np.uint8))
        shown = "data:image/png;base64," + base64.b64encode(content).decode()
        if number % 5 == 0:
            shown = f"{number}.png"
            (tmp_path / shown).write_bytes(content)
        rows.append(Labelled(str(number), {"image": shown}, labels[digits.target[number]]))

    setup = Setup(tmp_path, labels, options={"size": 8})
    scores = trained("sklearn-image", rows[:350], setup, tmp_path / "m").scores(unlabelled(rows[350:]))

    assert right(scores, rows[350:], labels) > 0.9
    assert scores.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("image", ["https://example.com/a.png", "../outside.png", "data:image/png;base64,AAAA", "missing.png"])
def test_an_image_that_can_not_be_read_is_named_by_its_item_and_nothing_is_fetched(tmp_path: Path, image: str) -> None:
    root = tmp_path / "workspace"
    root.mkdir()
    (tmp_path / "outside.png").write_bytes(picture(np.zeros((8, 8), np.uint8)))

    with pytest.raises(UsageError, match="item 'a'"):
        trainer("sklearn-image").train([Labelled("a", {"image": image}, "x")], Setup(root, ("x", "y")), root)


def test_a_model_file_with_a_foreign_type_is_refused_before_it_is_built(tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(skops.io.dumps({"classifier": Path("x")}))
    with pytest.raises(RefusedForSafety, match="types that no model of ours holds"):
        files.load(tmp_path / "model.skops")

    (tmp_path / "model.skops").write_bytes(skops.io.dumps(["not ours"]))
    with pytest.raises(RefusedForSafety, match="not a model of ours"):
        files.load(tmp_path / "model.skops")


def command(**steps: list[str]) -> dict[str, JSON]:
    return {name: [sys.executable, *arguments] for name, arguments in steps.items()}


EXAMPLE = str(PROJECT / "examples/trainers/nearest_centroid.py")


def test_the_example_of_a_trainer_of_ones_own_keeps_the_contract(tmp_path: Path) -> None:
    setup = Setup(tmp_path, LABELS, options=command(train=[EXAMPLE, "train"], score=[EXAMPLE, "score"]))
    rows = examples(60)
    scores = trained("command", rows, setup, tmp_path / "m").scores(unlabelled(rows))

    assert right(scores, rows, LABELS) > 0.5
    assert scores.sum(axis=1) == pytest.approx(1)


WRITE = "import os, pathlib; pathlib.Path(os.environ['HITL_SCORES']).write_text({!r})"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "said nothing of 1 of 1"),
        ("{}", "line 1 is wrong: it must be"),
        ('{"item_id": "t0"}', "line 1 is wrong: it must be"),
        ('{"item_id": "b", "scores": {}}', "unknown or stands there twice"),
        ('{"item_id": "t0", "scores": {}}\n{"item_id": "t0", "scores": {}}', "line 2 is wrong: item_id is unknown or stands"),
        ('{"item_id": "t0", "scores": {"other": 1}}', "a label that hitl.yaml does not have"),
        ('{"item_id": "t0", "scores": {"refund": NaN}}', "must lie in"),
        ('{"item_id": "t0", "scores": {"refund": 1.5}}', "must lie in"),
    ],
)
def test_scores_that_break_the_contract_are_refused_with_the_line(tmp_path: Path, lines: str, message: str) -> None:
    setup = Setup(tmp_path, LABELS, options=command(score=["-c", WRITE.format(lines)]))

    with pytest.raises(UsageError, match=message):
        with_scores(trainer("command").load(tmp_path, setup, {})).scores(unlabelled(examples(1)))


MARKS = '{"item_id": "t0", "prediction": {"entities": [{"start": 0, "end": %d, "label": "%s"}]}, "confidence": %s}'


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"item_id": "t0", "scores": {"refund": 1}}', 'it must be {"item_id": …, "prediction"'),
        (MARKS % (999, "refund", "0.5"), "an entity ends at 999"),
        (MARKS % (2, "other", "0.5"), "unknown label 'other'"),
        (MARKS % (2, "refund", "1.5"), "confidence must lie in"),
        (MARKS % (2, "refund", "null"), "confidence must lie in"),
    ],
)
def test_entities_that_break_the_contract_are_refused_with_the_line(tmp_path: Path, lines: str, message: str) -> None:
    setup = Setup(tmp_path, LABELS, options=command(score=["-c", WRITE.format(lines)]), kind=task_type("entities"))
    model = trainer("command").load(tmp_path, setup, {})

    assert isinstance(model, AnsweringModel)
    with pytest.raises(UsageError, match=rf"line 1 is wrong: .*{re.escape(message)}"):
        model.answers(unlabelled(examples(1)))


def test_a_command_that_fails_can_not_be_started_or_leaves_nothing_is_said_in_words(tmp_path: Path) -> None:
    def train(options: dict[str, JSON]) -> None:
        folder = tmp_path / "m"
        folder.mkdir(exist_ok=True)
        trainer("command").train(examples(3), Setup(tmp_path, LABELS, options=options), folder)

    with pytest.raises(BridgeError, match="exit code 3"):
        train(command(train=["-c", "raise SystemExit(3)"]))
    with pytest.raises(UsageError, match="left no file"):
        train(command(train=["-c", ""]))
    with pytest.raises(UsageError, match="can't be started"):
        train({"train": ["./no-such-program"]})
    with pytest.raises(UsageError, match="must be a list"):
        train({"train": "python train.py"})


def test_a_command_sees_no_secret_unless_params_name_it(tmp_path: Path) -> None:
    """The token stands in the environment of the whole test process only as long as this test runs."""
    folder = tmp_path / "m"
    folder.mkdir()
    program = "import os, json, pathlib; pathlib.Path(os.environ['HITL_MODEL_DIR'], 'e').write_text(json.dumps(dict(os.environ)))"
    os.environ.update({"HITL_LABEL_STUDIO_TOKEN": "secret", "MY_CACHE": "here"})
    try:
        options = {**command(train=["-c", program]), "environment": ["MY_CACHE"]}
        trainer("command").train(examples(3), Setup(tmp_path, LABELS, seed=5, base_model="b@1", options=options), folder)
    finally:
        del os.environ["HITL_LABEL_STUDIO_TOKEN"], os.environ["MY_CACHE"]

    seen = json.loads((folder / "e").read_text())
    assert "secret" not in seen.values()
    assert (seen["MY_CACHE"], seen["HITL_SEED"], seen["HITL_BASE_MODEL"]) == ("here", "5", "b@1")
