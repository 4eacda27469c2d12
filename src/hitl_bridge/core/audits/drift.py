"""Drift, seen without labels: the share of predictions in which the model is unsure.

A model that meets what it was not made for is unsure more often, at once; audits say so ten times later (METHODS 11 of the
design; Rabanser et al. 2019 on tests of a classifier's outputs). Unsure is what a tenth of the reference was. Every 200 items
the number of unsure ones is held against the reference by a binomial test whose share is known only as well as the reference
tells it (beta-binomial, Jeffreys' prior): with no drift a look raises a false alarm with the probability asked for, however
long the blocks are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 200
"""Items of a look; a longer batch is one look."""

REFERENCE = 1_000
"""Items that a reference needs."""

FALSE_ALARM = 0.001
"""Of a look. With 10,000 items a day in blocks of 200, one false alarm in three weeks."""

_UNSURE = 0.1


@dataclass(frozen=True, slots=True)
class Reference:
    """What was usual: of `items` so many (`low`) had a confidence `below` this number."""

    below: float
    items: int
    low: int

    @property
    def share(self) -> float:
        return self.low / self.items


@dataclass(frozen=True, slots=True)
class DriftLook:
    """How unlikely (`p_value`) so many unsure items are if nothing has changed, and whether that is an alarm."""

    items: int
    low: int
    p_value: float
    alarm: bool


def reference_of(confidences: NDArray[np.float64]) -> Reference:
    """Of `REFERENCE` or more items. Where many share the confidence at the tenth, fewer than a tenth are below it."""
    import numpy as np

    below = float(np.quantile(confidences, _UNSURE))
    return Reference(below, len(confidences), int((confidences < below).sum()))


def look(reference: Reference, items: int, low: int, false_alarm: float = FALSE_ALARM) -> DriftLook:
    """Holds a block of `items` with `low` unsure ones against the reference."""
    from scipy.stats import betabinom

    usual = betabinom(items, reference.low + 0.5, reference.items - reference.low + 0.5)
    p_value = float(usual.sf(low - 1)) if low else 1.0
    return DriftLook(items, low, p_value, p_value <= false_alarm)
