"""What the scikit-learn trainers share: fitting over label numbers, a temperature, and files that run no code."""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import skops.io
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.dummy import DummyClassifier

from hitl_bridge.core.model import JSON
from hitl_bridge.errors import RefusedForSafety, UsageError
from hitl_bridge.stages.files import write_bytes
from hitl_bridge.stages.trainers import Labelled, Scores, Setup, refuse_nothing

FILE = "model.skops"
TRUSTED: frozenset[str] = frozenset()
"""Types that a model file may hold beyond scikit-learn's and NumPy's own, which skops knows to be harmless: none."""

Numbers = npt.NDArray[np.int64]


class Estimator(Protocol):
    """As much of scikit-learn's classifier as is used; features are a matrix that can be indexed by row numbers."""

    classes_: Numbers

    def fit(self, features: object, codes: Numbers) -> Estimator: ...


class MakeEstimator(Protocol):
    def __call__(self) -> Estimator: ...


@dataclass(frozen=True, slots=True)
class Fitted:
    estimator: Estimator
    temperature: float


def codes_of(examples: Sequence[Labelled], labels: Sequence[str]) -> Numbers:
    """The number of each example's label. Raises UsageError if there is no example at all."""
    refuse_nothing(examples)
    place = {label: number for number, label in enumerate(labels)}
    return np.array([place[example.label] for example in examples], dtype=np.int64)


def fit_calibrated(make: MakeEstimator, features: npt.NDArray[np.float32], codes: Numbers, setup: Setup) -> Fitted:
    """Fits on everything, and the temperature on out-of-fold logits.

    One parameter over all labels can't change which label is best, needs few examples, and takes a TF-IDF model's
    calibration error from 0.17 to 0.015 (Guo et al. 2017, *On calibration of modern neural networks*).
    """
    folds = int(setup.number("calibration_folds", 5))
    return Fitted(_fit(make, features, codes), temperature_by(*_out_of_fold(make, features, codes, folds)))


def scores_of(fitted: Fitted, features: npt.NDArray[np.float32], labels: Sequence[str]) -> Scores:
    """Tempered probabilities in columns of all labels; a label that was never seen has 0."""
    scores = np.zeros((features.shape[0], len(labels)))
    if features.shape[0]:
        scores[:, fitted.estimator.classes_] = softmax(_logits(fitted.estimator, features) / fitted.temperature, axis=1)
    return scores


def _fit(make: MakeEstimator, features: npt.NDArray[np.float32], codes: Numbers) -> Estimator:
    """With a single label there is nothing to tell apart: a constant model says it.

    scikit-learn takes few examples of many labels for numbers to be estimated, and says so at each fit: ours are labels.
    """
    estimator: Estimator = DummyClassifier(strategy="prior") if len(np.unique(codes)) < 2 else make()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%", UserWarning)
        return estimator.fit(features, codes)


def _logits(estimator: Estimator, features: npt.NDArray[np.float32]) -> Scores:
    """One column a class of the estimator; the sigmoid of a binary one becomes a softmax over two."""
    if not hasattr(estimator, "decision_function"):
        return np.zeros((features.shape[0], len(estimator.classes_)))
    raw = np.asarray(estimator.decision_function(features), dtype=np.float64)
    return raw if raw.ndim == 2 else np.column_stack([np.zeros_like(raw), raw])


def _out_of_fold(make: MakeEstimator, features: npt.NDArray[np.float32], codes: Numbers, folds: int) -> tuple[Scores, Numbers]:
    """Logits of rows that their model has not seen, and where the right class stands in them.

    The n-th example of each label goes to fold n mod `folds`, so that a label's only example is in the first; rows whose
    label the rest does not have say nothing about confidence and are left out.
    """
    fold = rank_within_label(codes) % folds
    logits, right = [], []
    present = np.unique(codes)
    for number in range(folds):
        inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        inside = inside[np.isin(codes[inside], codes[outside])]
        if not len(inside):
            continue
        estimator = _fit(make, features[outside], codes[outside])
        padded = np.full((len(inside), len(present)), -np.inf)
        padded[:, np.searchsorted(present, estimator.classes_)] = _logits(estimator, features[inside])
        logits.append(padded)
        right.append(np.searchsorted(present, codes[inside]))
    if not logits:
        return np.zeros((0, len(present))), np.zeros(0, np.int64)
    return np.concatenate(logits), np.concatenate(right)


def rank_within_label(codes: Numbers) -> Numbers:
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], codes[order], side="left")
    ranks = np.empty_like(codes)
    ranks[order] = np.arange(len(codes)) - starts
    return ranks


def temperature_by(logits: Scores, right: Numbers) -> float:
    """The temperature of least log loss, between 1/20 and 20; 1 with fewer than ten rows to fit it on.

    As if one row more had been wrong (Platt 1999 smooths his targets so): a few rows without an error are no certainty.
    """
    n = len(right)
    if n < 10 or logits.shape[1] < 2:
        return 1.0
    rows, known, doubt = np.arange(n), np.isfinite(logits), 1.0 / (n + 2)

    def loss(log_temperature: float) -> float:
        logs = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float((1 - doubt) * np.mean(logs[rows, right]) + doubt * np.mean(logs[known]))

    found = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded", options={"xatol": 1e-4})
    return round(float(np.exp(found.x)), 4)


def save(path: Path, content: object) -> None:
    """Writes scikit-learn objects with skops, such that the same objects give the same bytes.

    skops names arrays by their address in memory and stamps the time on them; here they are numbered in order instead.
    """
    write_bytes(path, _canonical(skops.io.dumps(content)))


def _canonical(archive: bytes) -> bytes:
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return match[1] + numbers.setdefault(match[2], str(len(numbers)))

    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as new:
        schema = json.dumps(json.loads(old.read("schema.json")), separators=(",", ":"))
        schema = re.sub(r'("__id__":|"file":")(\d+)', number, schema)
        members = [
            (f"{numbers[name.removesuffix('.npy')]}.npy", old.read(name)) for name in old.namelist() if name != "schema.json"
        ]
        for name, content in [*sorted(members), ("schema.json", schema.encode())]:
            new.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED, 6)
    return sink.getvalue()


def load(path: Path) -> Mapping[str, object]:
    """Opens a file written by `save`. Raises RefusedForSafety if it holds a type that we don't know, before building it."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"The model has no {path.name}.", remedy="Run `dvc pull`, or train again.") from error
    unknown = set(skops.io.get_untrusted_types(data=data)) - TRUSTED
    if unknown:
        raise RefusedForSafety(
            f"{path.name} holds types that no model of ours holds: {', '.join(sorted(unknown))}.",
            remedy="Do not use this file. Find out where it came from, and train again.",
        )
    content = skops.io.loads(data, trusted=sorted(TRUSTED))
    if not isinstance(content, dict):
        raise RefusedForSafety(f"{path.name} is not a model of ours.", remedy="Train again.")
    return content


def temperature_of(fitted: Mapping[str, JSON]) -> float:
    value = fitted.get("temperature")
    return float(value) if isinstance(value, int | float) else 1.0
