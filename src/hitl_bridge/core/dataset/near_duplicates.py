"""Texts that are nearly the same: by the share of their pieces (Jaccard), every pair from the threshold on and no other.

A training item that is all but a copy of a held-out one measures memory. The usual tool is MinHash (Broder 1997; Lee et al.
2022, "Deduplicating Training Data Makes Language Models Better", section 4.2: pieces of text, Jaccard of 0.8), which misses
some pairs and needs a check of what it finds. Here one side is a holdout, which is small: so each pair is found exactly, by the
prefix filter of set joins (Chaudhuri et al. 2006, section 4; Bayardo et al. 2007, "Scaling up all pairs similarity search").
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction

PIECE = 5
"""Letters in a piece: what Lee et al. take, of letters instead of words, for reviewed texts are often a line long."""

METHOD = f"share of pieces of {PIECE} letters (Jaccard), every pair compared"
"""For the proof."""

_ROUNDED = 1_000_000
Pieces = frozenset[str]


class NearDuplicates:
    """Texts against which others are held. Texts are compared as given: the caller takes case and white space out."""

    def __init__(self, texts: Iterable[str], threshold: float) -> None:
        """`threshold` in (0, 1]: the share of pieces from which two texts are nearly the same."""
        self._threshold = Fraction(round(threshold * _ROUNDED), _ROUNDED)
        self._known = list({_pieces(text) for text in texts})
        self._counts = Counter(piece for pieces in self._known for piece in pieces)
        self._with_piece: defaultdict[str, list[int]] = defaultdict(list)
        for place, pieces in enumerate(self._known):
            for piece in self._prefix(pieces):
                self._with_piece[piece].append(place)

    def has(self, text: str) -> bool:
        """Whether one of the known texts is nearly the same as `text`."""
        pieces = _pieces(text)
        if sum(piece in self._counts for piece in pieces) < self._least(len(pieces)):
            return False
        places = {place for piece in self._prefix(pieces) for place in self._with_piece.get(piece, ())}
        return any(self._alike(pieces, self._known[place]) for place in places)

    def _prefix(self, pieces: Pieces) -> Sequence[str]:
        """The rarest pieces, so many that two sets that are alike share one of them (pieces that are nowhere come first)."""
        wanted = len(pieces) - self._least(len(pieces)) + 1
        return sorted(pieces, key=lambda piece: (self._counts[piece], piece))[:wanted]

    def _least(self, n: int) -> int:
        """How many of its `n` pieces a text shares with one that is alike, at least."""
        return -(-n * self._threshold.numerator // self._threshold.denominator)

    def _alike(self, one: Pieces, other: Pieces) -> bool:
        shared = len(one & other)
        return shared >= self._threshold * (len(one) + len(other) - shared)


def _pieces(text: str) -> Pieces:
    return frozenset(text[start : start + PIECE] for start in range(max(1, len(text) - PIECE + 1)))
