"""Near-copies of one another are served apart: nobody should get twenty of a kind in a row, and answer the last ones unread."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain

import numpy as np
from numpy.typing import NDArray

APART = 6
"""As many others lie between two near-copies, where there are so many."""

_HASHES, _ROWS = 12, 4
"""Minima of hashes in a text's signature, and how many in a row must be the same for two texts to be near-copies: likely (0.96)
where nine of ten words are shared, unlikely (0.005) where a fifth is (Broder, "On the resemblance and containment of
documents", 1997; banding as in Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", 3.4)."""

_WORD = re.compile(r"[^\W\d_]+")
_PRIME = np.uint64((1 << 31) - 1)
_BAND = _ROWS * np.dtype(np.uint64).itemsize
_AT_ONCE = 1_000
_DRAWN = np.random.default_rng(20261122).integers(1, int(_PRIME), size=(2, _HASHES), dtype=np.uint64)


def spread(texts: Sequence[str], priorities: Sequence[float], *, slot: float, apart: int = APART) -> list[float]:
    """The same priorities, handed out anew so that near-copies are not served in a row.

    Only what lies within `slot` of one another changes places: a nearer deadline goes first, copy or not. The first of a kind
    keeps its place.

    Args:
        texts: one text an item; their words count, not their digits.
        priorities: in [0, 1], the lowest is served first.
    """
    order = sorted(range(len(texts)), key=lambda place: (priorities[place], place))
    kinds = near_copies(texts)
    given = list(priorities)
    for several in _slots(order, priorities, slot):
        served = _taking_turns([kinds[place] for place in several], apart)
        for rank, at in zip(served, [priorities[place] for place in several], strict=True):
            given[several[rank]] = at
    return given


def _taking_turns(kinds: Sequence[int], apart: int) -> list[int]:
    """The ranks in a new order: always the first whose kind was not among the last `apart`, or, if there is none, the kind that
    has rested longest."""
    waiting: dict[int, deque[int]] = {}
    for rank, kind in enumerate(kinds):
        waiting.setdefault(kind, deque()).append(rank)
    ready = [(ranks[0], kind) for kind, ranks in waiting.items()]
    heapify(ready)
    resting: deque[tuple[int, int]] = deque()
    served: list[int] = []
    while ready or resting:
        while resting and (resting[0][0] <= len(served) or not ready):
            kind = resting.popleft()[1]
            heappush(ready, (waiting[kind][0], kind))
        kind = heappop(ready)[1]
        served.append(waiting[kind].popleft())
        if waiting[kind]:
            resting.append((len(served) + apart, kind))
    return served


def near_copies(texts: Sequence[str]) -> list[int]:
    """A number for each text, the same for near-copies; a text without words is like nothing else."""
    parents = list(range(len(texts)))
    there: dict[tuple[int, bytes], int] = {}
    for place, bands in _signatures(texts):
        for key in enumerate(bands):
            other = there.setdefault(key, place)
            if other != place:
                parents[_root(parents, place)] = _root(parents, other)
    return [_root(parents, place) for place in range(len(texts))]


def _signatures(texts: Sequence[str]) -> Iterator[tuple[int, list[bytes]]]:
    """The place of each text that has words, with the bands of its signature. A word is looked at and hashed once, however
    often it comes."""
    known = _Words()
    words = [list({number for token in set(text.split()) for number in known[token]}) for text in texts]
    hashes = _hashes(known.numbers)
    for start in range(0, len(texts), _AT_ONCE):
        places = [place for place in range(start, min(start + _AT_ONCE, len(texts))) if words[place]]
        if not places:
            continue
        flat = np.fromiter(chain.from_iterable(words[place] for place in places), dtype=np.intp)
        first = np.cumsum([0, *(len(words[place]) for place in places[:-1])])
        least = np.minimum.reduceat(hashes[flat], first, axis=0)
        for place, row in zip(places, least, strict=True):
            whole = row.tobytes()
            yield place, [whole[at : at + _BAND] for at in range(0, len(whole), _BAND)]


class _Words(dict[str, tuple[int, ...]]):
    """The numbers of the words in a piece of text without spaces; a new word gets the next number."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: dict[str, int] = {}

    def __missing__(self, token: str) -> tuple[int, ...]:
        words = _WORD.findall(token.casefold())
        found = self[token] = tuple(self.numbers.setdefault(word, len(self.numbers)) for word in words)
        return found


def _hashes(words: Collection[str]) -> NDArray[np.uint64]:
    """Row i has what each of the drawn functions makes of word i. Shape (words, _HASHES)."""
    digests = (hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4).digest() for word in words)
    hashed = np.frombuffer(b"".join(digests), dtype=">u4").astype(np.uint64) >> np.uint64(1)
    drawn: NDArray[np.uint64] = (hashed[:, None] * _DRAWN[0] + _DRAWN[1]) % _PRIME
    return drawn


def _root(parents: list[int], place: int) -> int:
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = parents[place]
    return place


def _slots(order: Sequence[int], priorities: Sequence[float], slot: float) -> list[list[int]]:
    slots: list[list[int]] = []
    for place in order:
        if slots and priorities[place] - priorities[slots[-1][0]] < slot:
            slots[-1].append(place)
        else:
            slots.append([place])
    return slots


def words_of(shown: Mapping[str, object], field: str) -> str:
    """What there is to compare of an item: its text; of a picture, nothing."""
    value = shown.get(field)
    return value if field == "text" and isinstance(value, str) else ""
