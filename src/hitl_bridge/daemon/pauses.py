"""How long to wait: the usual time, and longer and longer while something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

LONGEST = 300.0


@dataclass(slots=True)
class Pauses:
    """`usual` seconds when all is well. After trouble twice as long each time, up to five minutes, less up to a half of it by
    chance (`chance(tries)` in [0, 1))."""

    usual: float
    chance: Callable[[int], float]
    tries: int = 0

    def longer(self) -> float:
        """After one more failure."""
        self.tries += 1
        full = min(self.usual * 2.0 ** min(self.tries, 20), max(LONGEST, self.usual))
        return round(full * (1.0 - 0.5 * self.chance(self.tries)), 3)

    def over(self) -> int:
        """All is well again; how many failures there were."""
        tries, self.tries = self.tries, 0
        return tries
