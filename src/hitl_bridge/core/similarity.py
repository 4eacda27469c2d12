"""Which decided items are most like another one: by the letters of their texts, or by what the model says of them.

An item is a set of terms. Of a text: the runs of four letters in its words, with the word's ends (McNamee and Mayfield,
"Character n-gram tokenization for European language text retrieval", Information Retrieval 7, 2004: n = 4 is best across
languages, and needs no stemmer); typing errors and endings then matter little. Two items are as alike as the cosine of their
terms, each weighed by how rare it is (inverse document frequency: Spärck Jones 1972, in the smoothed form of scikit-learn).

What is known of the decided items is kept both ways: the terms of each item, and the items of each term. A new decision is
written into a part of its own, and parts are put together as they grow, so that taking in n new decisions costs as much as n are,
however many are there (the logarithmic method of Bentley and Saxe 1980; as in Büttcher, Clarke and Cormack, "Information
Retrieval", chapter 7). Weights change with every decision, so none is stored: how many items have a term is looked up.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LETTERS = 4
"""Letters in a term."""

AT_LEAST = 0.3
"""Less alike is not alike: of Banking77's queries every second such neighbour has another label."""

READ = 100_000
"""Entries of the index that are read for one item, those of its rarest terms first. The others weigh too little to bring in
an item that shares no rare term; of those that were found every term counts."""

COMPARED = 200
"""Items that are compared term by term, of those that were found."""

_OFTEN = 16
"""Terms that an item may share and still be counted among the best before equal places are put together."""

_NEWER = 1e-6
"""What the newest of equals is ahead of the oldest, as a share."""

LONGEST_TEXT = 20_000
"""Characters of a text that are looked at."""

_TOLD = 3
"""Labels by which items without a text are compared: those to which the model gave the most."""

_TOP = "\x1ftop"
_INPUT = "\x1finput"
_WORD = re.compile(r"[^\W\d_]+")
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
"""Thai, Japanese, Chinese: scripts that put no space between words. Two letters are a term there."""

Terms = NDArray[np.uint32]
Places = NDArray[np.int64]
Numbers = NDArray[np.float64]


# ------------------------------------------------------------------------------------------------------------ terms


def terms_of(text: str | None, scores: Mapping[str, float], shown: object, key: bytes) -> Terms:
    """The terms of an item: sorted, each once, shape (n,).

    Args:
        text: its text; None for an item without one, which is compared by the labels to which the model gave the most.
        scores: by label.
        shown: what a reviewer sees of an item without a text, such as the address of a picture: the same is the same.
        key: the workspace's. Terms are keyed hashes: nobody reads words out of an index.
    """
    words = _text_terms(text) if text is not None else _score_terms(scores, shown)
    return np.unique(np.fromiter((_hashed(word, key) for word in words), dtype=np.uint32))


def _text_terms(text: str) -> set[str]:
    found: set[str] = set()
    for word in _WORD.findall(text[:LONGEST_TEXT].casefold()):
        if _UNSPACED.search(word):
            found |= {word[at : at + 2] for at in range(max(1, len(word) - 1))}
        else:
            bounded = f" {word} "
            found |= {bounded[at : at + LETTERS] for at in range(max(1, len(bounded) - LETTERS + 1))}
    return found


def _score_terms(scores: Mapping[str, float], shown: object) -> set[str]:
    """`refund`, `refund billing`, `refund billing cancel` in the order of the scores: the more of it is the same, the rarer."""
    ranked = [label for label, _ in sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:_TOLD]]
    beginnings = {"\x1f".join((_TOP, *ranked[: count + 1])) for count in range(len(ranked))}
    return beginnings | {_INPUT + str(shown)}


@lru_cache(maxsize=200_000)
def _hashed(word: str, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "replace"), key=key[:64], digest_size=4).digest(), "big")


# ------------------------------------------------------------------------------------------------------------ parts


@dataclass(frozen=True, slots=True)
class Part:
    """Decided items, both ways. Item i of n has the terms `terms[starts[i]:starts[i + 1]]`, sorted; the j-th of m different
    terms, `words[j]` (sorted), is in the items `places[spans[j]:spans[j + 1]]`, rising. Shapes: `starts` (n + 1,), `terms` and
    `places` (k,), `words` (m,), `spans` (m + 1,)."""

    starts: Places
    terms: Terms
    words: Terms
    spans: Places
    places: NDArray[np.int32]

    @property
    def size(self) -> int:
        """How many items."""
        return len(self.starts) - 1


def part_of(items: Sequence[Terms]) -> Part:
    """A part of these items, in this order."""
    starts = np.zeros(len(items) + 1, dtype=np.int64)
    np.cumsum([len(terms) for terms in items], out=starts[1:])
    terms = np.concatenate(items).astype(np.uint32) if items else np.zeros(0, dtype=np.uint32)
    return _indexed(starts, terms)


def merged(parts: Sequence[Part]) -> Part:
    """One part of several, their items in this order."""
    shifts = np.cumsum([0, *(len(part.terms) for part in parts)])
    starts = [np.asarray(part.starts[:-1]) + shift for part, shift in zip(parts, shifts[:-1], strict=True)]
    return _indexed(np.concatenate([*starts, shifts[-1:]]), np.concatenate([part.terms for part in parts]))


def _indexed(starts: Places, terms: Terms) -> Part:
    order = np.argsort(terms, kind="stable")
    owners = np.repeat(np.arange(len(starts) - 1, dtype=np.int32), np.diff(starts))
    words, firsts = np.unique(terms[order], return_index=True)
    spans = np.concatenate([firsts, [len(terms)]]).astype(np.int64)
    return Part(starts, terms, words, spans, owners[order])


def to_merge(sizes: Sequence[int]) -> int:
    """How many of the last parts are put together now, so that each is at least twice as large as the next (1: none).

    Every item is then put together as often as its part has doubled, and there are never more than log₂(n) parts.
    """
    count, total = 1, sizes[-1] if sizes else 0
    while count < len(sizes) and sizes[-1 - count] < 2 * total:
        total += sizes[-1 - count]
        count += 1
    return count


# ------------------------------------------------------------------------------------------------------------ nearest


@dataclass(frozen=True, slots=True)
class Near:
    """An item by its place among all, counted over the parts; `similarity` is a cosine in [0, 1]."""

    place: int
    similarity: float


class Decided:
    """All the parts together."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._firsts = np.cumsum([0, *(part.size for part in parts)])
        counts = [np.diff(part.starts) for part in parts] or [np.zeros(0, dtype=np.int64)]
        self._lengths: NDArray[np.float32] = np.sqrt(np.maximum(np.concatenate(counts), 1)).astype(np.float32)
        self._shared = np.zeros(self.size, dtype=np.float32)  # of each item, while one is asked about

    @property
    def size(self) -> int:
        return int(self._firsts[-1])

    def nearest(self, terms: Terms, most: int, *, at_least: float = AT_LEAST) -> list[Near]:
        """The `most` items that are most like one with these terms, the most alike first; of equals the newest.

        Only items that are found under one of its rarest terms are compared (`READ`): the time does not grow with their number.
        """
        if not len(terms) or not self.size:
            return []
        counts = self._counts(terms)
        weights = self._weights(counts)
        found = self._found(terms, counts, weights)
        if not len(found):
            return []
        alike = self._similarities(found, terms, float(weights @ weights))
        order = np.lexsort((-found, -alike))[:most]
        return [Near(int(found[at]), min(1.0, float(alike[at]))) for at in order if alike[at] >= at_least]

    def _counts(self, terms: Terms) -> Places:
        """How many items have each of these terms."""
        total = np.zeros(len(terms), dtype=np.int64)
        for part in self._parts:
            at, there = _looked_up(part, terms)
            total[there] += part.spans[at[there] + 1] - part.spans[at[there]]
        return total

    def _weights(self, counts: Places) -> Numbers:
        weights: Numbers = np.log((1 + self.size) / (1 + counts)) + 1.0
        return weights

    def _found(self, terms: Terms, counts: Places, weights: Numbers) -> Places:
        """The places of items that share rare terms with it: those that share the most weight, for as long as they are."""
        several: list[Places] = []
        left = READ
        for at in np.argsort(counts, kind="stable"):
            if counts[at] and left > 0:
                some = self._with_term(terms[at : at + 1], left)
                self._shared[some] += weights[at] ** 2  # no place twice: it has the term, or it has not
                several.append(some)
                left -= len(some)
        if not several:
            return np.zeros(0, dtype=np.int64)
        places = np.concatenate(several)
        newer = 1.0 + _NEWER * places / self.size
        alike = self._shared[places] / self._lengths[places] * newer
        self._shared[places] = 0.0
        return _best(places, alike)

    def _with_term(self, term: Terms, most: int) -> Places:
        """The places of items with that term, the newest `most`."""
        found: list[Places] = []
        for part, first in zip(reversed(self._parts), reversed(self._firsts[:-1]), strict=True):
            at, there = _looked_up(part, term)
            if there[0] and most > 0:
                until = int(part.spans[at[0] + 1])
                begin = max(int(part.spans[at[0]]), until - most)
                found.append(part.places[begin:until].astype(np.int64) + first)
                most -= until - begin
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def _similarities(self, places: Places, terms: Terms, square: float) -> Numbers:
        """The cosine of each of these items with one of these terms, whose weights have this sum of squares."""
        theirs = [self._terms_at(int(place)) for place in places]
        together = np.concatenate(theirs)
        words, which = np.unique(together, return_inverse=True)
        squares = self._weights(self._counts(words)) ** 2
        shared = np.where(np.isin(words, terms, assume_unique=True), squares, 0.0)
        owners = np.repeat(np.arange(len(theirs)), [len(each) for each in theirs])
        lengths = np.bincount(owners, weights=squares[which], minlength=len(theirs))
        common = np.bincount(owners, weights=shared[which], minlength=len(theirs))
        alike: Numbers = common / np.sqrt(np.maximum(lengths * square, 1e-12))
        return alike

    def _terms_at(self, place: int) -> Terms:
        number = int(np.searchsorted(self._firsts, place, side="right")) - 1
        part, at = self._parts[number], place - int(self._firsts[number])
        return part.terms[part.starts[at] : part.starts[at + 1]]


def _best(places: Places, alike: Numbers) -> Places:
    """The different places that are most alike, `COMPARED` at most; a place stands there as often as it was found."""
    if len(places) > COMPARED * _OFTEN:
        likely = np.argpartition(-alike, COMPARED * _OFTEN)[: COMPARED * _OFTEN]
        places, alike = places[likely], alike[likely]
    different, first = np.unique(places, return_index=True)
    best: Places = different[np.lexsort((-different, -alike[first]))[:COMPARED]]
    return best


def _looked_up(part: Part, terms: Terms) -> tuple[Places, NDArray[np.bool_]]:
    """Where each term would stand among the part's words, and whether it does."""
    at: Places = np.searchsorted(part.words, terms)
    inside = at < len(part.words)
    there = np.zeros(len(terms), dtype=bool)
    there[inside] = part.words[at[inside]] == terms[inside]
    return at, there
