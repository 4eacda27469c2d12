"""Beside the gate: what the candidate learnt from → a learning curve over dataset versions, and labels that are doubtful.

It decides nothing: the gate does not wait for it, and `hitl-bridge doubtful-labels` reads what it found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hitl_bridge.core.dataset.change import version_order
from hitl_bridge.core.model import Split
from hitl_bridge.core.task_types.controls import Form
from hitl_bridge.stages.doubtful_labels import Doubt, doubtful
from hitl_bridge.stages.entry import run_stage
from hitl_bridge.stages.files import sha256, write_csv, write_json
from hitl_bridge.stages.learner import Learner, out_of_fold, tokens_out_of_fold
from hitl_bridge.stages.metrics import figures
from hitl_bridge.stages.opinions import Opinion, on_marks, on_one_label, on_several_labels
from hitl_bridge.stages.params import StageParams, load_params
from hitl_bridge.stages.snapshot import BASE, FOLDER, Example, known, read_examples
from hitl_bridge.stages.trainers import tells_of_tokens

DOUBTFUL = Path("reports/doubtful.json")
_PLOTS = Path("reports/plots")
_LEAST = 10
"""With fewer examples nothing can be said of labels."""


def examine(root: Path) -> str:
    """Looks at the training of the workspace at `root`; returns what it found in a sentence."""
    params = load_params(root)
    train_file = root / FOLDER / f"{Split.TRAIN.value}.parquet"
    train, holdout = read_examples(train_file), read_examples(root / FOLDER / f"{Split.HOLDOUT.value}.parquet")
    learner = Learner.of(root, params)
    measured = known(holdout, params.kind, params.labels)
    _write_curve(root / _PLOTS / "learning.csv", learning_curve(learner, train, measured, params))
    found = _doubtful(learner, train, params)
    write_json(root / DOUBTFUL, _report(found, train, params, sha256(train_file.read_bytes())))
    return f"{len(found)} of {len(train)} labels are doubtful. {_nobody_looks(params)}".rstrip()


# -------------------------------------------------------------------------------------------------- labels to look at again


def _doubtful(learner: Learner, train: Sequence[Example], params: StageParams) -> list[Doubt]:
    if len(train) < _LEAST:
        return []
    return doubtful(train, params.kind, _opinions(learner, train, params), params.examine.twins)


def _opinions(learner: Learner, train: Sequence[Example], params: StageParams) -> list[Opinion]:
    """Of each example; none has any where no model looks."""
    folds, kind, labels = params.examine.folds, params.kind, params.labels
    if folds < 2 or _nobody_looks(params):
        return [Opinion()] * len(train)
    if kind.form is Form.MARKS:
        return on_marks(train, labels, tokens_out_of_fold(learner, train, folds), kind)
    scores = out_of_fold(learner, train, folds)
    return on_several_labels(train, labels, scores, kind) if kind.several else on_one_label(train, labels, scores)


def _nobody_looks(params: StageParams) -> str:
    """Why no model can be asked, and what to do; empty if one can."""
    if params.kind.form is not Form.MARKS or tells_of_tokens(params.train.trainer):
        return ""
    return (
        f"No model has looked at the labels: of the trainer {params.train.trainer!r} no more is known than its answers. Set "
        "train.trainer to sklearn-entities and run `dvc repro -s examine` to have one look; equal texts were compared."
    )


def _report(found: Sequence[Doubt], train: Sequence[Example], params: StageParams, snapshot: str) -> dict[str, object]:
    return {
        "format": 1,
        "examined": len(train),
        "folds": params.examine.folds,
        "twins": params.examine.twins,
        "note": _nobody_looks(params),
        "snapshot_sha256": snapshot,
        "doubtful": [each.row() for each in found],
    }


# ------------------------------------------------------------------------------------------------------- the learning curve


@dataclass(frozen=True, slots=True)
class Point:
    """What training on all versions up to `version` gives on today's holdout; `edge_accuracy` is None without edge cases."""

    version: str
    rows: int
    accuracy: float
    macro_f1: float
    edge_accuracy: float | None


def learning_curve(learner: Learner, train: Sequence[Example], holdout: Sequence[Example], params: StageParams) -> list[Point]:
    """At most `examine.points` of the versions, the base and the newest among them.

    A row stands where the version that last changed it stands: a curve of what is known today, in the order in which it came.
    """
    steps = [BASE, *sorted({each.version for each in train if each.source != BASE}, key=version_order)]
    parts = ((step, [each for each in train if _came_by(each, step)]) for step in _spaced(steps, params.examine.points))
    return [_point(learner, step, part, holdout, params) for step, part in parts if part] if holdout else []


def _came_by(example: Example, step: str) -> bool:
    return example.source == BASE or (step != BASE and version_order(example.version) <= version_order(step))


def _spaced(steps: Sequence[str], most: int) -> list[str]:
    """So many of the steps, evenly, the first and the last among them; none if none are wanted."""
    if most < 1:
        return []
    places = np.linspace(0, len(steps) - 1, min(most, len(steps))) if most > 1 else np.array([len(steps) - 1])
    return [steps[int(place)] for place in dict.fromkeys(places.round())]


def _point(learner: Learner, step: str, part: Sequence[Example], holdout: Sequence[Example], params: StageParams) -> Point:
    found = learner.judged(part, holdout).outcomes
    edge = figures(found.where(np.array([each.edge for each in holdout], dtype=bool)), params.evaluate.bins)
    overall = figures(found, params.evaluate.bins)
    return Point(step, len(part), float(overall["accuracy"]), float(overall["macro_f1"]), edge.get("accuracy"))


def _write_curve(path: Path, points: Sequence[Point]) -> None:
    rows = (
        (each.version, each.rows, each.accuracy, each.macro_f1, "" if each.edge_accuracy is None else each.edge_accuracy)
        for each in points
    )
    write_csv(path, ("version", "rows", "accuracy", "macro_f1", "edge_accuracy"), rows)


if __name__ == "__main__":
    run_stage(examine)
