"""The threshold that sends the fewest items to people and keeps an error budget, with a guarantee from a finite sample.

`of: all` bounds P(approved without a look AND wrong). It can only grow with the threshold, so that an exact binomial bound
along the ranking holds for the threshold that was chosen by it, at no price (risk-controlling prediction sets: Bates et al.
2021, theorem 1). `of: approved` bounds P(wrong | approved), which can fall and rise: thresholds are tested one after the
other, from a strict one on, over levels that were fixed on other items, until the first test fails (Learn then Test:
Angelopoulos et al. 2021, section 2.2, fixed-sequence testing). Where errors have costs, the same tests are made with a
betting bound for means of bounded variables (Waudby-Smith & Ramdas 2024, theorem 3).

All of it is promised with the given confidence over the draw of the judged items, which must be drawn at random from the
traffic that the threshold is for, and must not have been used to fit the calibration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from hitl_bridge.core.triage.calibration import Numbers
from hitl_bridge.core.triage.plan import CLOSED

Of: TypeAlias = Literal["all", "approved"]

NEVER = 2.0
"""Stands for the risk of an item that a rule sends to people: no threshold reaches it."""

EVERYTHING = 1.0

LEVELS = 200
"""Thresholds that are tested one after the other, at equal steps of the pilot's items."""

USEFUL = 0.3
"""A threshold is worth having if it approves this share of the items."""

LIKELY = 0.8
"""How often the number of labels that is said to be needed should do."""

_STRONG = 0.9
_LEAST_PILOT = 20
_BOLDEST = 0.75
_MOST_LABELS = 10_000_000


@dataclass(frozen=True, slots=True)
class Budget:
    """`share` of the items (or of the approved) may be wrong, and `confidence` says how sure one wants to be. With costs,
    `share` is the mean cost of an item, and `unit` the cost that a loss of 1 stands for."""

    share: float
    confidence: float = 0.95
    of: Of = "all"
    unit: float = 1.0

    @property
    def doubt(self) -> float:
        """How often the promise may be broken."""
        return 1.0 - self.confidence

    @property
    def most(self) -> float:
        """The mean loss that is allowed."""
        return self.share / self.unit


@dataclass(frozen=True, slots=True)
class Judged:
    """Items drawn at random and judged, by row and in an order that has nothing to do with what was found.

    `risks` are calibrated, NEVER for what a rule sends to people. `losses` lie in [0, 1]: 0 where the prediction is right,
    and 1 where it is wrong, or with costs the cost divided by the highest.
    """

    risks: Numbers
    losses: Numbers

    def __len__(self) -> int:
        return len(self.risks)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a threshold lets through, measured on `items` judged ones.

    `share` of all items are approved and wrong, `error` of the approved are wrong; the `_at_most` are exact upper bounds
    (Clopper & Pearson 1934) at the budget's confidence, each for itself. None where nothing is approved.
    """

    items: int
    approved: int
    wrong: int
    coverage: float
    share: float
    share_at_most: float
    error: float | None
    error_at_most: float | None


# ---------------------------------------------------------------------------------------------------- bounds


def at_most(wrong: int, items: int, confidence: float) -> float:
    """The exact upper bound for a share of which `wrong` of `items` were seen (one-sided); 1 without items."""
    from scipy.stats import beta

    return 1.0 if wrong >= items else float(beta.ppf(confidence, wrong + 1, items - wrong))


def most_errors(items: int, share: float, doubt: float) -> int:
    """With how many errors among `items` the bound is still within `share`; −1 if not even with none."""
    from scipy.stats import binom

    allowed = int(binom.ppf(doubt, items, share))
    while allowed >= 0 and binom.cdf(allowed, items, share) > doubt:
        allowed -= 1
    return allowed


def binomial_p(losses: Numbers, most: float, doubt: float) -> float:
    """How likely so few errors are if the share of errors is `most`: small speaks for less. Losses are 0 or 1."""
    from scipy.stats import binom

    return float(binom.cdf(int(losses.sum()), len(losses), most))


def betting_p(losses: Numbers, most: float, doubt: float) -> float:
    """The same for losses in [0, 1]: 1 over the most that a gambler had, who bet on a mean below `most` with fair stakes.

    Waudby-Smith & Ramdas 2024, theorem 3 and section B.2: stakes fit the variance seen so far. Any order is valid that does
    not depend on the losses.
    """
    if not len(losses):
        return 1.0
    count = np.arange(1, len(losses) + 1)
    means = (most + np.cumsum(losses)) / (count + 1)
    spread = (most * (1 - most) + np.cumsum((losses - means) ** 2)) / (count + 1)
    before = np.concatenate([[most * (1 - most)], spread[:-1]])
    stakes = np.minimum(np.sqrt(2 * np.log(1 / doubt) / (len(losses) * before)), _BOLDEST / (1 - most))
    gained = np.cumsum(np.log1p(-stakes * (losses - most)))
    return float(min(1.0, np.exp(-gained.max())))


# ------------------------------------------------------------------------------------------------- thresholds


def choose(judged: Judged, pilot: Judged, budget: Budget) -> float:
    """The highest risk that may be approved without a look; CLOSED if there is none to answer for.

    Args:
        pilot: other items of the same traffic (those that the calibration was fitted on), which fix the levels that are
            tested. Not needed for `of: all` without costs.
    """
    if not len(judged):
        return CLOSED
    plain = bool(np.isin(judged.losses, (0.0, 1.0)).all()) and budget.unit == 1.0
    if plain and budget.of == "all":
        return _along_the_ranking(judged, budget)
    levels = _levels(pilot.risks)
    if budget.of == "approved":
        levels = levels[_start(levels, pilot, budget.most) :]
    return _one_after_the_other(judged, levels, budget, binomial_p if plain else betting_p)


def _along_the_ranking(judged: Judged, budget: Budget) -> float:
    """Everything below the first wrong item that would be one too many: ties with it stay out together."""
    allowed = most_errors(len(judged), budget.most, budget.doubt)
    if allowed < 0:
        return CLOSED
    wrong = np.sort(judged.risks[judged.losses > 0])
    return _below(float(wrong[allowed])) if len(wrong) > allowed else EVERYTHING


def _below(risk: float) -> float:
    if risk <= 0.0:
        return CLOSED
    return min(float(np.nextafter(risk, 0.0)), EVERYTHING)


def _one_after_the_other(
    judged: Judged, levels: Numbers, budget: Budget, p_value: Callable[[Numbers, float, float], float]
) -> float:
    chosen = CLOSED
    for level in levels:
        approved = judged.risks <= level
        losses = judged.losses[approved] if budget.of == "approved" else judged.losses * approved
        if p_value(losses, budget.most, budget.doubt) > budget.doubt:
            break
        chosen = float(level)
    return chosen


def _levels(pilot: Numbers) -> Numbers:
    """From strict to lenient: the risks at equal steps of the pilot's items, and everything."""
    reached = pilot[pilot <= EVERYTHING]
    if len(reached) < _LEAST_PILOT:
        return np.empty(0)
    steps = np.quantile(reached, np.linspace(1 / LEVELS, 1, LEVELS))
    return np.asarray(np.unique(np.append(steps, EVERYTHING)), dtype=np.float64)


def _start(levels: Numbers, pilot: Judged, most: float) -> int:
    """The strictest level that nearly has the strongest test to expect: below, too few items are approved to tell.

    What to expect, the risks say; where they expect too many errors everywhere, the pilot's errors themselves are asked.
    """
    if not len(levels):
        return 0
    order = np.argsort(pilot.risks, kind="stable")
    below = np.searchsorted(pilot.risks[order], levels, side="right")
    places, count = np.maximum(below - 1, 0), np.maximum(below, 1)
    expected = _price(pilot) * np.cumsum(pilot.risks[order])[places] / count
    seen = (np.cumsum(pilot.losses[order])[places] + most) / (count + 1)
    for error in (expected, seen):
        strength = np.where(below > 0, (most - error) * np.sqrt(below), -np.inf)
        best = float(strength.max())
        if best > 0:
            return int(np.argmax(strength >= _STRONG * best))
    return 0


# ---------------------------------------------------------------------------------------------- several slices


def choose_each(slices: Mapping[str, tuple[Judged, Judged]], budget: Budget) -> dict[str, float]:
    """A threshold for each slice, such that all of them keep the budget at once with the budget's confidence.

    The doubt is divided evenly (Bonferroni); a slice that may approve everything needs its part no more and leaves it to the
    others (Holm 1979; as a graph of tests: Bretz et al. 2009).
    """
    chosen: dict[str, float] = {}
    waiting = sorted(slices)
    while waiting:
        part = Budget(budget.share, 1 - budget.doubt / len(waiting), budget.of, budget.unit)
        now = {name: choose(*slices[name], part) for name in waiting}
        done = [name for name in waiting if now[name] >= EVERYTHING]
        chosen |= {name: now[name] for name in (done or waiting)}
        waiting = [name for name in waiting if name not in done] if done else []
    return chosen


# ------------------------------------------------------------------------------------------------- what it means


def measured(judged: Judged, max_risk: float, confidence: float) -> Figures:
    """What a threshold approves, and how much of it is wrong; each bound for itself, for a threshold that is given."""
    approved = judged.risks <= max_risk
    items, count = len(judged), int(approved.sum())
    wrong = int((judged.losses[approved] > 0).sum())
    return Figures(
        items=items,
        approved=count,
        wrong=wrong,
        coverage=count / items if items else 0.0,
        share=wrong / items if items else 0.0,
        share_at_most=0.0 if max_risk < 0 else at_most(wrong, items, confidence),
        error=wrong / count if count else None,
        error_at_most=at_most(wrong, count, confidence) if count else None,
    )


def labels_needed(judged: Judged, budget: Budget, *, calibrated: bool = True) -> int | None:
    """How many judged items a useful threshold takes: one that approves USEFUL of them, found in LIKELY of all cases, if they
    err as often as the judged ones do, or as their risks say if that is more and they are `calibrated`. None if no number of
    labels would do. With costs an error is expected to cost what it cost among the judged."""
    error = _expected_loss(judged, calibrated=calibrated)
    if budget.of == "approved":
        approved = _smallest(budget.most, budget.doubt, error)
        return None if approved is None else int(np.ceil(approved / USEFUL))
    return _smallest(budget.most, budget.doubt, USEFUL * error)


def _expected_loss(judged: Judged, *, calibrated: bool) -> float:
    """Of the most certain USEFUL part."""
    part = np.argsort(judged.risks, kind="stable")[: int(USEFUL * len(judged))]
    part = part[judged.risks[part] <= EVERYTHING]
    if not len(part):
        return 0.0
    expected = _price(judged) * float(judged.risks[part].mean()) if calibrated else 0.0
    return max(float(judged.losses[part].mean()), expected)


def _price(judged: Judged) -> float:
    """The mean loss of an error: 1 without costs."""
    wrong = judged.losses[judged.losses > 0]
    return float(wrong.mean()) if len(wrong) else 1.0


def _smallest(most: float, doubt: float, error: float) -> int | None:
    """The smallest number of items whose errors are likely to stay within the bound (by bisection)."""
    from scipy.stats import binom

    if error >= most:
        return None

    def enough(items: int) -> bool:
        return most_errors(items, most, doubt) >= int(binom.ppf(LIKELY, items, error))

    high = max(1, int(np.log(doubt) / np.log1p(-most)))
    while not enough(high):
        high *= 2
        if high > _MOST_LABELS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
