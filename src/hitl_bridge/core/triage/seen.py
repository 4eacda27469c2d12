"""Which items may have been seen before: a set of 64-bit hashes, eight bytes each, that only grows.

Two items may share a hash (one in 10¹¹ pairs at 100 million items): "not here" is certain, "here" has to be looked up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_MERGE_AT = 8
"""So many parts are searched one after the other before they become one."""


class SeenHashes:
    """Sorted parts, the largest first; small ones are merged as they come, so that adding costs little, time and again."""

    def __init__(self) -> None:
        self._parts: list[Hashes] = []

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def add(self, hashes: Hashes) -> None:
        """Adds them, in any order; the same hash twice is one."""
        if not len(hashes):
            return
        self._parts.append(np.unique(hashes))
        while len(self._parts) > 1 and (len(self._parts) > _MERGE_AT or len(self._parts[-2]) <= len(self._parts[-1])):
            last, before = self._parts.pop(), self._parts.pop()
            self._parts.append(np.union1d(before, last))

    def holds(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Of each, whether it was added."""
        found = np.zeros(len(hashes), dtype=np.bool_)
        for part in self._parts:
            places = np.minimum(np.searchsorted(part, hashes), len(part) - 1)
            found |= part[places] == hashes
        return found
