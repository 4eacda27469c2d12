"""How much a model doubts, from its scores.

Margin ("breaking ties") is the strongest score that needs no parameter (Bahri et al. 2022, arXiv 2210.03822); entropy
is kept beside it for those who plot it, and is not a default anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

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
    if scores.shape[1] < 2:
        return np.full(len(scores), np.nan)
    known = np.where(np.isnan(scores), -np.inf, scores)
    two = np.partition(known, known.shape[1] - 2, axis=1)[:, -2:]
    enough = np.isfinite(two[:, 0])
    return np.where(enough, two[:, 1] - np.where(enough, two[:, 0], 0.0), np.nan)


def entropy(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shannon entropy in nats of the scores scaled to sum to 1, by row; NaN without a positive score."""
    known = np.nan_to_num(scores, nan=0.0)
    total = known.sum(axis=1)
    share = known / np.where(total > 0, total, 1.0)[:, None]
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    return np.where(total > 0, -(share * logs).sum(axis=1), np.nan)
