"""How much a model doubts, from its scores.

Margin ("breaking ties") is the strongest score that needs no parameter (Bahri et al. 2022, arXiv 2210.03822); entropy
is kept beside it for those who plot it, and is not a default anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import exp, isfinite, log

import numpy as np
from numpy.typing import NDArray

_BLOCK = 4_000_000
"""Cells of the score matrix looked at in one go, so that many labels cost time and not memory."""


def doubts(scores: Sequence[Mapping[str, float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Margin and entropy of each row's scores; NaN where they are undefined."""
    width = max((len(row) for row in scores), default=0)
    if width == 0:
        return np.full(len(scores), np.nan), np.full(len(scores), np.nan)
    step = max(1, _BLOCK // width)
    blocks = [score_matrix(scores[at : at + step], width) for at in range(0, len(scores), step)]
    return np.concatenate([margin(each) for each in blocks]), np.concatenate([entropy(each) for each in blocks])


def score_matrix(scores: Sequence[Mapping[str, float]], width: int) -> NDArray[np.float64]:
    """Rows of `width` scores, in no particular order, filled up with NaN."""
    lengths = np.fromiter((len(row) for row in scores), dtype=np.int64, count=len(scores))
    matrix = np.full((len(scores), width), np.nan)
    flat = np.fromiter(chain.from_iterable(row.values() for row in scores), dtype=np.float64, count=int(lengths.sum()))
    matrix[np.arange(width) < lengths[:, None]] = flat
    return matrix


def margin(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Best score − second best, by row; NaN with fewer than two scores."""
    best, second = np.full(len(scores), -np.inf), np.full(len(scores), -np.inf)
    for column in _columns(scores, missing=-np.inf):
        second = np.maximum(second, np.minimum(best, column))
        best = np.maximum(best, column)
    enough = np.isfinite(second)
    return np.where(enough, best - np.where(enough, second, 0.0), np.nan)


def entropy(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shannon entropy in nats of the scores scaled to sum to 1, by row; NaN without a positive score.

    Sums go from the first score to the last: so a row has the same entropy, to the last bit, whatever stands beside it.
    """
    total, summed = np.zeros(len(scores)), np.zeros(len(scores))
    for column in _columns(scores, missing=0.0):
        total += column
    scale = np.where(total > 0, total, 1.0)
    for column in _columns(scores, missing=0.0):
        share = column / scale
        summed -= share * np.log(np.where(share > 0, share, 1.0))
    return np.where(total > 0, summed, np.nan)


def _columns(scores: NDArray[np.float64], missing: float) -> Iterator[NDArray[np.float64]]:
    """One label after the other, which then lie side by side in memory."""
    for column in np.asfortranarray(scores).T:
        yield np.where(np.isnan(column), missing, column)


def energy(logits: Mapping[str, float]) -> float | None:
    """−logsumexp of the logits: the higher, the less like anything the model was trained on (Liu et al. 2020, arXiv
    2010.03759, at temperature 1). None without logits, or where one of them is not finite."""
    if not logits or not all(map(isfinite, logits.values())):
        return None
    highest = max(logits.values())
    return -(highest + log(sum(exp(each - highest) for each in logits.values())))
