"""The whole traffic's error from draws of unequal probability: the difference estimator.

    error = mean(risk of all items) + Σ over the looked-at items of (wrong − risk) / probability / number of items

(Särndal, Swensson & Wretman, "Model assisted survey sampling", 1992, section 6.3; the same as prediction-powered inference with
inclusion weights and as active statistical inference, Zrnic & Candès 2024.) It has no bias whatever the risks are worth; good
risks make it narrow. Only blind looks at random count: what reviewers saw with the model's answer filled in measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Looked:
    """The looked-at items, an entry each: the `probability` of the look, the `risk` that the item had, whether it was `wrong`."""

    probability: NDArray[np.float64]
    risk: NDArray[np.float64]
    wrong: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The share of right predictions in the whole traffic, and between which numbers it lies: a normal interval for one look."""

    value: float
    low: float
    high: float
    items: int
    looks: int


def whole_accuracy(items: int, total_risk: float, looked: Looked, confidence: float = 0.95) -> Accuracy | None:
    """None with fewer than two looks.

    Args:
        items: of the traffic, all of which could be looked at.
        total_risk: the sum of their risks.
    """
    looks = len(looked.wrong)
    if looks < 2 or not items:
        return None
    rest = looked.wrong - looked.risk
    error = float(total_risk / items + (rest / looked.probability).sum() / items)
    variance = float(((1 - looked.probability) * (rest / looked.probability) ** 2).sum()) / items**2
    half = NormalDist().inv_cdf((1 + confidence) / 2) * variance**0.5
    low, high = (min(1.0, max(0.0, 1 - end)) for end in (error + half, error - half))
    return Accuracy(min(1.0, max(0.0, 1 - error)), low, high, items, looks)
