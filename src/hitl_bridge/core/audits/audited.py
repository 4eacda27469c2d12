"""The auto tier's true error, from audits: exact, and valid however often it is looked at.

Each auto-approved item i was drawn with a recorded probability pᵢ, by a keyed hash and so independently of what it says. Of an
item that is wrong, "drawn and found wrong" happens with probability pᵢ(1 − miss); of one that is right with pᵢ·alarm, where
`miss` and `alarm` are how often a review as a whole errs. For each number θ the product over the items up to now

    M = ∏ (1 + θ/pᵢ)^[i drawn and found wrong]  /  (1 + θ(1 − miss))^K · (1 + θ·alarm)^(N − K)

(N items, K of them wrong) is a non-negative martingale that starts at 1, whatever the items are and in whatever order they
came; so is any mixture over θ. By Ville's inequality it ever reaches 1/α with probability at most α: all K for which it has not
are a confidence sequence for the number of wrong items up to now, for all looks together. Nothing is taken as independent or
alike but the draws. With equal probabilities and faultless reviewers this is betting (Waudby-Smith & Ramdas, "Estimating means of
bounded random variables by betting", JRSS-B 2024) on a lot from which is drawn without replacement (the same authors, NeurIPS
2020), with draws by item in place of a fixed number; unequal probabilities enter as in Shekhar, Xu, Lipton, Liang & Ramdas
("Risk-limiting financial audits via weighted sampling without replacement", UAI 2023); the correction for reviewers' errors is
that of Rogan & Gladen (Am. J. Epidemiology 1978), inside the test instead of after it.

Once a lot is closed nothing more is drawn from it, and the exact bound of one look holds too (Clopper & Pearson, for draws by
item): an audit that waits counts as right below and as wrong above, so that the bounds can only narrow as answers come in, and
all later looks are wrong only if the last one is. The chance to be wrong is divided between the two.

The numbers θ are shares of the smallest pᵢ. The claim takes the rates of the draws as chosen without a look at the audits'
outcomes, as those of one lot are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

from hitl_bridge.core.audits.reviewers import FAULTLESS, ReviewerError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RUNNING, CLOSED = (0.2, 0.1), (0.1, 0.6)
"""Of the chance to be wrong, what the lower and the upper end get while a lot runs and, on top, when it is closed: that a budget
is broken should be seen early, and that it is kept takes the most audits."""

_DOWN = ((1.0, 0.08), (0.85, 0.07), (0.7, 0.15), (0.55, 0.25), (0.42, 0.2), (0.3, 0.12), (0.15, 0.07), (0.06, 0.04), (0.02, 0.02))
"""Bets that the wrong items are fewer, as (share of the smallest probability, weight)."""

_UP = ((0.02, 0.03), (0.06, 0.05), (0.15, 0.1), (0.35, 0.17), (0.7, 0.2), (1.3, 0.2), (2.5, 0.15), (6.0, 0.07), (20.0, 0.03))
"""Bets that they are more."""

_NEARLY_ALL = 1 - 1e-9
"""A probability of 1 stands for this one, so that no logarithm is infinite."""

_NEVER = 1e-15
"""Of no account for any lot that there will be; scipy overflows where a probability is next to nothing."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """Auto-approved items that were drawn with the same probability, and what became of those drawn: found `right`, found
    `wrong`, or `waiting` for a decision. An item with probability 0 can't be measured."""

    probability: float
    items: int
    right: int = 0
    wrong: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class AutoError:
    """The share of wrong items among the auto-approved that could be drawn, and between which numbers it lies.

    Of `items`, `audits` were drawn and decided, `wrong` of them overturned; `waiting` were drawn and are not decided: they count
    as right in `low` and as wrong in `high`. `unmeasured` further items could not be drawn. `value` is None without audits.
    """

    value: float | None
    low: float
    high: float
    items: int
    audits: int
    wrong: int
    waiting: int
    unmeasured: int


def inclusion(uniform_rate: float, audit_rate: float) -> float:
    """The probability that an auto-approved item is looked at: in the uniform stream, or else as an audit."""
    return uniform_rate + (1 - uniform_rate) * audit_rate


def auto_error(
    strata: Sequence[Stratum], confidence: float = 0.95, reviewers: ReviewerError = FAULTLESS, *, closed: bool = False
) -> AutoError:
    """The error of all these items together, with an interval that holds for all looks at growing strata together.

    Args:
        closed: nothing more will be drawn from them.

    Raises:
        ValueError: the doubt about the reviewers is as large as all that the confidence leaves.
    """
    known = [each for each in strata if each.probability > 0 and each.items > 0]
    low, high = wrong_items(known, confidence, reviewers, closed=closed)
    items = sum(each.items for each in known)
    return AutoError(
        value=_corrected(known, reviewers),
        low=low / items if items else 0.0,
        high=high / items if items else 1.0,
        items=items,
        audits=sum(each.right + each.wrong for each in known),
        wrong=sum(each.wrong for each in known),
        waiting=sum(each.waiting for each in known),
        unmeasured=sum(each.items for each in strata if each.probability <= 0),
    )


def wrong_items(
    strata: Sequence[Stratum], confidence: float, reviewers: ReviewerError = FAULTLESS, *, closed: bool = False
) -> tuple[int, int]:
    """At least and at most so many items of the strata (each with a probability above 0) are wrong."""
    test = CountTest.of(strata, confidence, reviewers, closed=closed)
    if not strata:
        return 0, 0
    least, most = _certain(strata, reviewers)
    low = first(least, most, lambda wrong: not test.is_too_few(wrong))
    return low, first(low, most, lambda wrong: test.is_too_many(wrong + 1))


@dataclass(frozen=True, slots=True)
class CountTest:
    """Whether a number of wrong items can be, given what was found."""

    bets: tuple[_Bet, _Bet]
    looks: tuple[_OneLook, _OneLook] | None
    alpha: float

    @classmethod
    def of(cls, strata: Sequence[Stratum], confidence: float, reviewers: ReviewerError, *, closed: bool) -> CountTest:
        """Raises ValueError where the doubt about the reviewers is as large as all that the confidence leaves."""
        alpha = 1 - confidence - reviewers.doubt
        if alpha <= 0:
            raise ValueError("the doubt about the reviewers is as large as all that the confidence leaves")
        low, high = (_Bet.on(strata, more=more, reviewers=reviewers) for more in (True, False))
        looks = tuple(_OneLook.at(strata, more=more, reviewers=reviewers) for more in (True, False)) if closed else None
        return cls((low, high), (looks[0], looks[1]) if looks else None, alpha)

    def is_too_few(self, wrong: int) -> bool:
        """More than `wrong` items are wrong."""
        return self._excludes(0, wrong)

    def is_too_many(self, wrong: int) -> bool:
        """Fewer are."""
        return self._excludes(1, wrong)

    def _excludes(self, end: int, wrong: int) -> bool:
        if self.bets[end].log_wealth(wrong) >= -log(self.alpha * RUNNING[end]):
            return True
        return self.looks is not None and self.looks[end].probability(wrong) <= self.alpha * CLOSED[end]


def first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The first number from `low` on for which it `holds`, as it does for all after it; `high` if there is none before."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _certain(strata: Sequence[Stratum], reviewers: ReviewerError) -> tuple[int, int]:
    """What needs no statistics: what faultless reviewers saw is so."""
    seen_wrong = sum(each.wrong for each in strata) if reviewers.false_alarm.high == 0 else 0
    seen_right = sum(each.right for each in strata) if reviewers.miss.high == 0 else 0
    return seen_wrong, sum(each.items for each in strata) - seen_right


@dataclass(frozen=True, slots=True)
class _Bet:
    """A mixture of bets against "K of N are wrong": the logarithm of each one's winnings so far, and what each pays an item."""

    winnings: NDArray[np.float64]
    pays_wrong: NDArray[np.float64]
    pays_right: NDArray[np.float64]
    items: int

    @classmethod
    def on(cls, strata: Sequence[Stratum], *, more: bool, reviewers: ReviewerError) -> _Bet:
        """`more`: bets that more are wrong. Waiting audits, and rates known between bounds, count against the bet."""
        import numpy as np

        shares, weights = np.array(_UP if more else _DOWN).T
        strata = strata or (Stratum(1.0, 0),)
        rates = np.minimum([each.probability for each in strata], _NEARLY_ALL)
        theta = (shares if more else -shares) * rates.min()
        wrong = np.array([_found(each, more=more) for each in strata])
        with np.errstate(divide="ignore", invalid="ignore"):
            won = np.where(wrong > 0, wrong * np.log1p(theta[:, None] / rates), 0.0).sum(axis=1)
        alarm, hit = _rates(reviewers, more=more)
        return cls(np.log(weights) + won, np.log1p(theta * hit), np.log1p(theta * alarm), sum(each.items for each in strata))

    def log_wealth(self, wrong: int) -> float:
        """What the bets have won if `wrong` of the items are wrong."""
        import numpy as np

        return float(np.logaddexp.reduce(self.winnings - wrong * self.pays_wrong - (self.items - wrong) * self.pays_right))


def _found(stratum: Stratum, *, more: bool) -> int:
    return stratum.wrong + (0 if more else stratum.waiting)


def _rates(reviewers: ReviewerError, *, more: bool) -> tuple[float, float]:
    """P(called wrong | right), P(called wrong | wrong), each at the end of its bounds that explains the most away."""
    if more:
        return reviewers.false_alarm.high, 1 - reviewers.miss.low
    return reviewers.false_alarm.low, 1 - reviewers.miss.high


@dataclass(frozen=True, slots=True)
class _OneLook:
    """The exact test of one look: how likely it is to find so many wrong, or more (or fewer), if K are wrong.

    With several probabilities the K lie where they explain it best: in the strata that were drawn most (or least). Moving one
    wrong item there moves the sum of two Bernoulli draws up (or down) in the usual stochastic order.
    """

    strata: tuple[Stratum, ...]
    found: int
    more: bool
    alarm: float
    hit: float

    @classmethod
    def at(cls, strata: Sequence[Stratum], *, more: bool, reviewers: ReviewerError) -> _OneLook:
        ordered = tuple(sorted(strata, key=lambda each: each.probability, reverse=more))
        return cls(ordered, sum(_found(each, more=more) for each in strata), more, *_rates(reviewers, more=more))

    def probability(self, wrong: int) -> float:
        import numpy as np
        from scipy.stats import binom

        if self.more and self.found == 0:
            return 1.0
        counts = np.arange(self.found + (0 if self.more else 1))
        mass = np.array([1.0])
        for stratum in self.strata:
            here = min(wrong, stratum.items)
            wrong -= here
            for items, rate in ((here, stratum.probability * self.hit), (stratum.items - here, stratum.probability * self.alarm)):
                if items and rate > _NEVER:
                    mass = np.convolve(mass, binom.pmf(counts, items, rate))[: len(counts)]
        fewer = min(1.0, float(mass.sum()))
        return 1 - fewer if self.more else fewer


def _corrected(strata: Sequence[Stratum], reviewers: ReviewerError) -> float | None:
    """The share found wrong, weighted by probability (Hájek), less what reviewers' errors make of it."""
    weighed = sum((each.right + each.wrong) / each.probability for each in strata)
    if not weighed:
        return None
    found = sum(each.wrong / each.probability for each in strata) / weighed
    alarm, miss = reviewers.false_alarm.best, reviewers.miss.best
    return min(1.0, max(0.0, (found - alarm) / (1 - alarm - miss)))
