"""Figures of one model on labelled items. All are rounded to six digits, so that equal runs give equal files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hitl_bridge.stages.trainers import Scores

Flags = npt.NDArray[np.bool_]
Tally = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Counts:
    """Of answers made of parts: how many parts of each label are there, were named, and both. Shape (items, labels)."""

    there: Tally
    named: Tally
    hits: Tally

    @classmethod
    def empty(cls, items: int, labels: int) -> Counts:
        there, named, hits = (np.zeros((items, labels), dtype=np.int64) for _ in range(3))
        return cls(there, named, hits)

    def where(self, chosen: Flags) -> Counts:
        return Counts(self.there[chosen], self.named[chosen], self.hits[chosen])


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a model said of each item: number of the best label, its score, and whether it was right. Of answers made of parts
    there are no numbers but `counts`, and an answer is right as a whole or not at all."""

    predicted: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    right: Flags
    truth: npt.NDArray[np.int64]
    counts: Counts | None = None

    def where(self, chosen: Flags) -> Outcomes:
        counts = None if self.counts is None else self.counts.where(chosen)
        return Outcomes(self.predicted[chosen], self.confidence[chosen], self.right[chosen], self.truth[chosen], counts)


@dataclass(frozen=True, slots=True)
class Bin:
    """Items of similar confidence: means of confidence and accuracy."""

    confidence: float
    accuracy: float
    n: int


def outcomes(scores: Scores, truth: Sequence[int]) -> Outcomes:
    """The first of equally good labels counts as predicted."""
    right = np.asarray(truth, dtype=np.int64)
    if not len(right):
        return Outcomes(right, np.zeros(0), np.zeros(0, bool), right)
    predicted = scores.argmax(axis=1)
    return Outcomes(predicted, scores.max(axis=1), predicted == right, right)


def figures(found: Outcomes, bins: int) -> dict[str, float | int]:
    """`accuracy`, `macro_f1`, `ece` and `n`; of answers made of parts also `precision`, `recall` and `f1` over all of them. Only
    `n` where there are no items."""
    n = len(found.right)
    if not n:
        return {"n": 0}
    return {
        "accuracy": round(float(found.right.mean()), 6),
        "macro_f1": round(macro_f1(found), 6),
        **({} if found.counts is None else _over_parts(found.counts)),
        "ece": round(calibration_error(found, bins), 6),
        "n": n,
    }


def _over_parts(counts: Counts) -> dict[str, float]:
    """1 where there is nothing to find, or nothing was named."""
    hits, there, named = (int(each.sum()) for each in (counts.hits, counts.there, counts.named))
    shares = {
        "precision": hits / named if named else 1.0,
        "recall": hits / there if there else 1.0,
        "f1": 2 * hits / (there + named) if there + named else 1.0,
    }
    return {name: round(share, 6) for name, share in shares.items()}


def macro_f1(found: Outcomes) -> float:
    """Mean F1 over the labels that occur as truth or prediction; 1 where none does."""
    if found.counts is not None:
        sizes = (found.counts.there + found.counts.named).sum(axis=0)
        occurs = sizes > 0
        return float(np.mean(2 * found.counts.hits.sum(axis=0)[occurs] / sizes[occurs])) if occurs.any() else 1.0
    labels = np.union1d(found.truth, found.predicted)
    hits = np.array([np.sum(found.right & (found.truth == label)) for label in labels])
    sizes = np.array([np.sum(found.truth == label) + np.sum(found.predicted == label) for label in labels])
    return float(np.mean(2 * hits / sizes))


def reliability(found: Outcomes, bins: int) -> list[Bin]:
    """Bins of equal width over confidence; empty ones are left out."""
    place = np.minimum((found.confidence * bins).astype(int), bins - 1)
    filled = [place == number for number in range(bins) if np.any(place == number)]
    return [Bin(float(found.confidence[here].mean()), float(found.right[here].mean()), int(here.sum())) for here in filled]


def calibration_error(found: Outcomes, bins: int) -> float:
    """ECE: mean distance of confidence and accuracy over bins, weighted by items (Naeini et al. 2015)."""
    n = len(found.right)
    return sum(each.n * abs(each.confidence - each.accuracy) for each in reliability(found, bins)) / n if n else 0.0
