"""How far reviewers agree beyond chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hitl_bridge.core.review.reliability import Votes


def alpha(votes: Votes) -> float | None:
    """Krippendorff's alpha for names (nominal data) with missing answers: 1 is full agreement, 0 what chance gives.

    Krippendorff, "Computing Krippendorff's alpha-reliability" (2011): coincidences within items, each item's weighted by its
    number of answers less one. None where no item has two answers, or all answers are of one class.
    """
    import numpy as np

    counts = np.zeros((votes.items, votes.classes))
    np.add.at(counts, (votes.item, votes.said), 1.0)
    counts = counts[counts.sum(axis=1) > 1]
    of_item = counts.sum(axis=1)
    per_class, total = counts.sum(axis=0), float(of_item.sum())
    by_chance = total**2 - float((per_class**2).sum())
    if total == 0 or by_chance == 0:
        return None
    differing = float(((of_item**2 - (counts**2).sum(axis=1)) / (of_item - 1)).sum())
    return 1 - (total - 1) * differing / by_chance
