"""The floor that always works for texts with several labels: TF-IDF, a logistic regression for each label, one temperature.

Every label is told apart from its absence alone ("binary relevance"; Zhang et al., *Binary relevance for multi-label learning: an
overview*, Frontiers of Computer Science 2018). That labels often come together is not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from hitl_bridge.core.model import JSON
from hitl_bridge.core.task_types.multi_label import LABELS
from hitl_bridge.stages.trainers import Labelled, Model, Scores, Setup, Unlabelled, refuse_nothing
from hitl_bridge.stages.trainers.estimator import FILE, load, rank_within_label, save, temperature_of
from hitl_bridge.stages.trainers.text_features import fitted_features, texts_of

_FEWEST = 10
"""With fewer answers to fit it on, the temperature stays 1."""

Flags: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]


class SklearnMultiLabel:
    """Options: `C` (inverse strength of regularisation, 10), `max_iter` (300), `calibration_folds` (5)."""

    def train(self, examples: Sequence[Labelled], setup: Setup, folder: Path) -> Mapping[str, JSON]:
        carried = carried_labels(examples, setup.labels)
        features, matrix = fitted_features(texts_of(examples))
        with threadpool_limits(limits=1):  # many small fits: threads would spend their time waiting for one another
            temperature = _temperature(*_out_of_fold(matrix, carried, setup))
            heads = _fitted(matrix, carried, setup)
        save(folder / FILE, {"features": features, **heads})
        return {"temperature": temperature}

    def load(self, folder: Path, setup: Setup, fitted: Mapping[str, JSON]) -> Model:
        content: Any = load(folder / FILE)
        return _MultiLabelModel(content["features"], content, temperature_of(fitted), setup.labels)


@dataclass(frozen=True, slots=True)
class _MultiLabelModel:
    features: Any
    heads: Mapping[str, Floats]
    temperature: float
    labels: tuple[str, ...]

    def scores(self, items: Sequence[Unlabelled]) -> Scores:
        """Of each label by itself; rows don't sum to 1. A label that was never seen has 0."""
        if not items:
            return np.zeros((0, len(self.labels)))
        return np.asarray(expit(_logits(self.heads, self.features.transform(texts_of(items))) / self.temperature))


def carried_labels(examples: Sequence[Labelled], labels: Sequence[str]) -> Flags:
    """Shape (n, labels): which labels each example has. Raises UsageError if there is no example at all."""
    refuse_nothing(examples)
    place = {label: number for number, label in enumerate(labels)}
    carried = np.zeros((len(examples), len(labels)), dtype=np.bool_)
    for row, example in enumerate(examples):
        given = example.output.get(LABELS)
        for label in given if isinstance(given, list | tuple) else ():
            carried[row, place[str(label)]] = True
    return carried


def _fitted(matrix: Any, carried: Flags, setup: Setup) -> dict[str, Floats]:
    """A head for each label. One that all examples have, or none, has nothing to be told apart from."""
    weights = np.zeros((carried.shape[1], matrix.shape[1]))
    shifts = np.where(carried.all(axis=0), np.inf, -np.inf)
    for label in np.flatnonzero(carried.any(axis=0) & ~carried.all(axis=0)):
        regression = LogisticRegression(C=setup.number("C", 10.0), max_iter=int(setup.number("max_iter", 300)))
        regression.fit(matrix, carried[:, label])
        weights[label], shifts[label] = regression.coef_[0], regression.intercept_[0]
    return {"weights": weights.astype(np.float32), "shifts": shifts}


def _logits(heads: Mapping[str, Floats], matrix: Any) -> Floats:
    return np.asarray(matrix @ heads["weights"].T, dtype=np.float64) + heads["shifts"]


def _out_of_fold(matrix: Any, carried: Flags, setup: Setup) -> tuple[Floats, Flags]:
    """Logits of answers that their model has not seen, and what is true: flat, finite. The n-th example of each answer goes to
    fold n mod `calibration_folds`."""
    folds = int(setup.number("calibration_folds", 5))
    _, answers = np.unique(carried, axis=0, return_inverse=True)
    fold = rank_within_label(answers.reshape(-1)) % folds
    logits, truth = [np.zeros(0)], [np.zeros(0, dtype=np.bool_)]
    for number in range(folds if folds > 1 else 0):
        inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        if len(inside) and len(outside):
            said = _logits(_fitted(matrix[outside], carried[outside], setup), matrix[inside])
            logits.append(said[np.isfinite(said)])
            truth.append(carried[inside][np.isfinite(said)])
    return np.concatenate(logits), np.concatenate(truth)


def _temperature(logits: Floats, truth: Flags) -> float:
    """The temperature of least log loss over all labels, between 1/20 and 20, as if one answer more had been wrong. It moves no
    label over the line: where it is one half, it stays."""
    if len(truth) < _FEWEST:
        return 1.0
    signed, doubt = np.where(truth, logits, -logits), 1.0 / (len(truth) + 2)

    def loss(log_temperature: float) -> float:
        tempered = signed / np.exp(log_temperature)
        return float((1 - doubt) * np.logaddexp(0, -tempered).mean() + doubt * np.logaddexp(0, tempered).mean())

    found = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded", options={"xatol": 1e-4})
    return round(float(np.exp(found.x)), 4)
