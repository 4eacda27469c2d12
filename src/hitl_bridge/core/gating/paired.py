"""Two models on the same items: counts of pairs, and the tests and bounds that the gate is made of.

- Exact McNemar (McNemar 1947): a binomial test on the pairs in which only one of the two was right.
- Bounds of the paired difference: Wald with half a pair added to each cell (Agresti & Min 2005, *Statistics in
  Medicine* 24:729–740).
- Several slices: Holm (1979, *Scand. J. Statist.* 6:65–70), applied to those slices that could be found worse at all
  (Tarone 1990, *Biometrics* 46:515–522). With 77 labels and 1,200 items most slices have one or two discordant pairs;
  to divide alpha by all of them would let a label that lost two thirds of its items pass half of the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

POWER = 0.8
"""Probability with which a change of the size called "smallest visible" would have been seen."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Counts of one set of items: both right, only the candidate, only the reference, neither."""

    both: int
    wins: int
    losses: int
    neither: int

    @property
    def n(self) -> int:
        return self.both + self.wins + self.losses + self.neither

    @property
    def discordant(self) -> int:
        return self.wins + self.losses

    @property
    def candidate_accuracy(self) -> float:
        return (self.both + self.wins) / self.n if self.n else 0.0

    @property
    def reference_accuracy(self) -> float:
        return (self.both + self.losses) / self.n if self.n else 0.0

    @property
    def difference(self) -> float:
        return (self.wins - self.losses) / self.n if self.n else 0.0

    @property
    def reference_errors(self) -> int:
        return self.wins + self.neither


def count_pairs(candidate: Flags, reference: Flags) -> Pairs:
    """Both say of each item, in parallel, whether that model was right."""
    both, either = int(np.sum(candidate & reference)), int(np.sum(candidate | reference))
    wins, losses = int(candidate.sum()) - both, int(reference.sum()) - both
    return Pairs(both, wins, losses, len(candidate) - either)


def exact_mcnemar(more: int, fewer: int) -> float:
    """One-sided exact McNemar: the probability of at least `more` of `more + fewer` discordant pairs by chance alone."""
    from scipy.special import bdtrc

    return float(bdtrc(more - 1, more + fewer, 0.5)) if more else 1.0


def agresti_min_bounds(wins: int, losses: int, n: int, alpha: float) -> tuple[float, float]:
    """One-sided (1 − alpha) bounds, lower and upper, of the difference of two paired proportions (Agresti & Min 2005)."""
    total, difference = n + 2, wins - losses
    variance = (wins + losses + 1) - difference**2 / total
    reach = _z(1 - alpha) * math.sqrt(variance) / total
    return difference / total - reach, difference / total + reach


def smallest_visible(discordant: int, n: int, alpha: float) -> float:
    """The change of accuracy that a paired test would have seen with probability `POWER`, at this share of discordant pairs."""
    if n == 0:
        return 1.0
    return min(1.0, (_z(1 - alpha) + _z(POWER)) * math.sqrt(_discordance(discordant, n) / n))


def items_needed(discordant: int, n: int, change: float, alpha: float) -> int:
    """Items with which a true change of that size would be seen with probability `POWER`; or, if nothing had changed in
    truth, a loss of that size be ruled out."""
    reach = _z(1 - alpha) + _z(POWER)
    return math.ceil(reach**2 * _discordance(discordant, n) / change**2)


@dataclass(frozen=True, slots=True)
class Worse:
    """Which slices got worse (in parallel), and the level at which the last ones were tested."""

    rejected: tuple[bool, ...]
    level: float


def worse_among(slices: Sequence[Pairs], alpha: float) -> Worse:
    """The slices that lost, with a probability of at most `alpha` that any of them is named without having lost.

    Under the hypothesis of no change the discordant pairs are coin tosses, and their number is given. A slice with d of
    them can't get below p = 2^−d, so alpha is divided by the smallest K such that at most K slices get below alpha / K
    (Tarone 1990). Those rejected are set aside and the rest is tested again: K can only fall, so that the sequence keeps
    alpha (Goeman & Solari 2010, *Ann. Statist.* 38:3782–3810). With pairs enough in every slice this is Holm's method.
    """
    p_values = [exact_mcnemar(pairs.losses, pairs.wins) for pairs in slices]
    rejected = [False] * len(slices)
    while True:
        open_ones = [place for place, done in enumerate(rejected) if not done]
        level = alpha / _testable([slices[place].discordant for place in open_ones], alpha)
        found = [place for place in open_ones if p_values[place] <= level]
        if not found:
            return Worse(tuple(rejected), level)
        for place in found:
            rejected[place] = True


def _testable(discordant: Sequence[int], alpha: float) -> int:
    """Tarone's K."""
    divisor = 1
    while sum(0.5**pairs <= alpha / divisor for pairs in discordant) > divisor:
        divisor += 1
    return divisor


def fewest(level: float) -> int:
    """The fewest discordant pairs, all one way, that reach significance at `level`."""
    return math.ceil(math.log2(1 / level))


def _discordance(discordant: int, n: int) -> float:
    """Share of discordant pairs, smoothed as in Agresti & Min: none seen is not none there."""
    return (discordant + 1) / (n + 2)


def _z(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))
