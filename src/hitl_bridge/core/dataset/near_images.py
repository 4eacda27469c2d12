"""Images that are nearly the same: by how far their small grey pictures go together, point by point (Pearson's r).

This is template matching by normalised correlation (Lewis 1995, "Fast Normalized Cross-Correlation") of whole pictures: what was
compressed again, resized, made brighter or given another contrast keeps an r near 1. A perceptual hash (the DCT hash of Zauner
2010) says less of small pictures: of scikit-learn's 1,797 digits of 8 x 8 points, each another writing, it takes 8 % for copies
of one another at a distance of 4 of 64 bits and misses a quarter of those compressed again; r from 0.99 on takes 1 % and misses
none (docs/decisions/0034-near-images.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SIDE = 16
"""Points a side of a small picture."""

METHOD = f"correlation of pictures of {SIDE} x {SIDE} grey points, every pair compared"
"""For the proof."""

Picture = npt.NDArray[np.uint8]
"""Shape (SIDE, SIDE), grey from 0 to 255."""

_AT_ONCE = 1000
_Rows = npt.NDArray[np.float64]


class NearImages:
    """Pictures against which others are held."""

    def __init__(self, pictures: Sequence[Picture], threshold: float) -> None:
        """`threshold` in (0, 1]: the r from which two pictures are nearly the same."""
        self._known = _centred(pictures)
        self._squares = _squares(self._known)
        self._threshold = threshold

    def have(self, pictures: Sequence[Picture]) -> list[bool]:
        """For each of `pictures` whether one of the known is nearly the same."""
        parts = (pictures[start : start + _AT_ONCE] for start in range(0, len(pictures), _AT_ONCE))
        return [bool(row.any()) for part in parts for row in self._near(_centred(part))]

    def _near(self, asked: _Rows) -> npt.NDArray[np.bool_]:
        """Shape (asked, known). r is compared squared, so that no root rounds a picture away from itself."""
        products = asked @ self._known.T
        least = self._threshold**2 * _squares(asked)[:, None] * self._squares[None, :]
        return (products > 0) & (products * products >= least)


def _centred(pictures: Sequence[Picture]) -> _Rows:
    """A row a picture: its points, times their number and less their sum. These are whole numbers, and so small that sums of
    their products are exact, in whatever order a machine adds them. Pictures of one shade have a column of their own: they are
    like each other and like nothing else."""
    points = np.array([picture.ravel() for picture in pictures], dtype=np.float64).reshape(len(pictures), SIDE * SIDE)
    centred = points * points.shape[1] - points.sum(axis=1, keepdims=True)
    return np.column_stack([centred, ~centred.any(axis=1)])


def _squares(rows: _Rows) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = (rows * rows).sum(axis=1)
    return found
