"""What a policy would have cost and let through, and what it will on the next items, from recorded predictions.

Recorded predictions that a policy treats alike, and that had the same chance of a random look, are one `Cell`. Errors are
taken from random looks alone (uniform stream and audits), each cell standing for all of its predictions: stratified
estimation with known inclusion probabilities (Horvitz and Thompson 1952; METHODS 3 of the design). Where nobody has looked
at random, nothing is said of errors but how many looks would tell.

Ranges are posterior predictive: error shares Beta (Jeffreys' prior, one half error in all, divided among the cells by their
size), the mix of items Dirichlet (Rubin's Bayesian bootstrap, 1981), and the chance of the future itself binomial. They are
computed by simulation with a fixed seed, so that the same records always give the same plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.90
"""Of all ranges."""

RUNS = 20_000
_SEED = 20_261_122
DAYS_ENOUGH = 3
"""With fewer recorded days nothing is known of how days differ, and the next ones are taken to be as many."""

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cell:
    """Predictions that the policy puts into `tier` and that were looked at with probability `chance`, whatever they say.

    `looked` of them were drawn and have a decision; the prediction was `wrong` in so many of these.
    """

    tier: str
    chance: float
    predictions: int
    looked: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds that an answer took: how many were timed, their mean and standard deviation."""

    answers: int
    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Work:
    """What an item asks of people: answers of the first round, the share that goes on to an adjudicator (`adjudicated` of
    `settled` items did), and the time of an answer (None: never timed)."""

    reviewers: int
    settled: int
    adjudicated: int
    seconds: Times | None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a policy does with its tiers: rates of the draws, and the work of each kind of look."""

    auto_tier: str | None
    uniform_rate: float
    audit_rate: float
    tiers: Mapping[str, Work]
    blind: Work
    adjudication: Times | None

    def chance_of_look(self, tier: str) -> float:
        """With which an item of this tier is looked at blind, by one draw or the other."""
        audit = self.audit_rate if tier == self.auto_tier else 0.0
        return self.uniform_rate + (1.0 - self.uniform_rate) * audit


@dataclass(frozen=True, slots=True)
class Horizon:
    """The future that is planned for: so many `items`, or else `days` like the recorded ones (`volumes`: items by day)."""

    items: int | None = None
    days: int = 1
    volumes: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Range:
    """What to expect, and between what the figure will lie with a probability of `LEVEL`."""

    expected: float
    low: float
    high: float

    def over(self, by: float) -> Range:
        return Range(self.expected / by, self.low / by, self.high / by)


@dataclass(frozen=True, slots=True)
class Unknown:
    """Predictions that the policy would approve where nobody has looked at random: a share of all, the recorded chance of a
    look there, and how many looks would tell."""

    tier: str
    predictions: int
    share: float
    chance: float
    draws: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """Totals of the horizon. None is what can't be known.

    `reviews` are answers asked of people, adjudications among them. `escaped` are predictions approved without a look and
    wrong, `escaped_known` those of them outside `unknown`; `escaped_share` is of all items, `escaped_of_approved` of the
    approved. `caught` are wrong predictions that people get to see. `looks` are the random looks behind the errors.
    """

    items: Range
    approved: Range
    reviews: Range
    adjudications: Range
    hours: Range | None
    escaped: Range | None
    escaped_known: Range
    escaped_share: Range | None
    escaped_of_approved: Range | None
    caught: Range | None
    reviews_per_caught: Range | None
    hours_per_caught: Range | None
    looks: int
    unknown: tuple[Unknown, ...] = field(default=())


def forecast(
    cells: Sequence[Cell], terms: Terms, horizon: Horizon, *, budget: float = 0.02, confidence: float = 0.95
) -> Forecast:
    """What the policy behind `cells` will ask and let through on the next items.

    Args:
        cells: all recorded predictions, each in one cell. At least one prediction.
        budget: looks that would tell are as many as show, finding nothing, an error share of at most this,
        confidence: … with this probability.
    """
    seen = [cell for cell in cells if cell.predictions]
    chance = np.random.default_rng(_SEED)
    totals = _volumes(horizon, chance)
    counts = chance.multinomial(totals, chance.dirichlet([cell.predictions for cell in seen], RUNS))
    drawn = _Drawn(seen, terms, counts, chance)
    unknown = _unknown(seen, terms, budget, confidence)
    caught = drawn.caught()
    escaped = None if unknown else _range(drawn.escaped)
    reviews, hours = drawn.reviews(), drawn.hours()
    return Forecast(
        items=_range(totals),
        approved=_range(drawn.approved.sum(axis=1)),
        reviews=_range(reviews),
        adjudications=_range(drawn.adjudications.sum(axis=1)),
        hours=None if hours is None else _range(hours),
        escaped=escaped,
        escaped_known=_range(drawn.escaped),
        escaped_share=None if unknown else _share(drawn.escaped, totals),
        escaped_of_approved=None if unknown else _share(drawn.escaped, drawn.approved.sum(axis=1)),
        caught=None if caught is None else _range(caught),
        reviews_per_caught=None if caught is None else _share(reviews, caught),
        hours_per_caught=None if caught is None or hours is None else _share(hours, caught),
        looks=sum(cell.looked for cell in seen if cell.tier == terms.auto_tier),
        unknown=unknown,
    )


def draws_that_tell(budget: float, confidence: float) -> int:
    """Random looks that, all right, show an error share of at most `budget`: ln(1 − confidence) / ln(1 − budget)."""
    return max(1, math.ceil(math.log(1.0 - confidence) / math.log1p(-budget))) if budget < 1.0 else 1


def merged(cells: Sequence[Cell]) -> list[Cell]:
    """Cells of several parts of the record put together: partial results merge exactly."""
    found: dict[tuple[str, float], Cell] = {}
    for cell in cells:
        key = (cell.tier, round(cell.chance, 12))
        other = found.get(key)
        found[key] = cell if other is None else _plus(other, cell)
    return [found[key] for key in sorted(found)]


def _plus(one: Cell, other: Cell) -> Cell:
    return replace(
        one,
        predictions=one.predictions + other.predictions,
        looked=one.looked + other.looked,
        wrong=one.wrong + other.wrong,
    )


# ------------------------------------------------------------------------------------------------ the simulation


def _volumes(horizon: Horizon, chance: np.random.Generator) -> Counts:
    """Items in all, for each run. With days enough, days to come are drawn from those that were."""
    if horizon.items is not None:
        return np.full(RUNS, horizon.items, dtype=np.int64)
    volumes = np.asarray(horizon.volumes, dtype=np.float64)
    if len(volumes) < DAYS_ENOUGH:
        return np.full(RUNS, round(float(volumes.mean()) * horizon.days), dtype=np.int64)
    weights = chance.dirichlet(np.ones(len(volumes)), RUNS)
    picked: Counts = chance.multinomial(horizon.days, weights)
    return np.rint(picked @ volumes).astype(np.int64)


class _Drawn:
    """What became of the items of each run (rows) in each cell (columns)."""

    def __init__(self, cells: Sequence[Cell], terms: Terms, counts: Counts, chance: np.random.Generator) -> None:
        self.cells, self.terms, self.chance = cells, terms, chance
        self.is_auto = np.array([cell.tier == terms.auto_tier for cell in cells])
        uniform = chance.binomial(counts, terms.uniform_rate)
        audits = np.where(self.is_auto, chance.binomial(counts - uniform, terms.audit_rate), 0)
        self.blind: Counts = uniform + audits
        self.ordinary: Counts = np.where(self.is_auto, 0, counts - uniform)
        self.approved: Counts = np.where(self.is_auto, counts - self.blind, 0)
        self.rates = _error_rates(cells, self.is_auto, chance)
        self.escaped: Counts = chance.binomial(self.approved, self.rates).sum(axis=1)
        self.adjudications = self._adjudications()

    def caught(self) -> Counts | None:
        """None where a tier that people work in was never looked at."""
        if any(cell.looked == 0 for cell in self.cells if cell.tier != self.terms.auto_tier):
            return None
        found: Counts = self.chance.binomial(self.blind + self.ordinary, self.rates).sum(axis=1)
        return found

    def reviews(self) -> Counts:
        asked = [self.blind.sum(axis=1), self.adjudications.sum(axis=1)]
        asked += [self.ordinary[:, at] * work.reviewers for at, work in self._works()]
        total: Counts = np.sum(asked, axis=0)
        return total

    def hours(self) -> Floats | None:
        """None where an answer of some kind that would be asked was never timed."""
        parts: list[tuple[Counts, Times | None]] = [
            (self.blind.sum(axis=1), self.terms.blind.seconds),
            (self.adjudications.sum(axis=1), self.terms.adjudication),
        ]
        parts += [(self.ordinary[:, at] * work.reviewers, work.seconds) for at, work in self._works()]
        asked = [(answers, seconds) for answers, seconds in parts if answers.any()]
        if any(seconds is None for _, seconds in asked):
            return None
        spent = [_seconds(answers, seconds, self.chance) for answers, seconds in asked if seconds is not None]
        total: Floats = np.sum(spent, axis=0) / 3600.0 if spent else np.zeros(RUNS)
        return total

    def _works(self) -> list[tuple[int, Work]]:
        return [(at, self.terms.tiers[cell.tier]) for at, cell in enumerate(self.cells) if not self.is_auto[at]]

    def _adjudications(self) -> Counts:
        """By kind of look: blind ones, and those of each tier. One share for all cells of a kind, as it is one unknown."""
        kinds: dict[str, Counts] = {}
        for at, _ in self._works():
            tier = self.cells[at].tier
            kinds[tier] = kinds.get(tier, np.zeros(RUNS, dtype=np.int64)) + self.ordinary[:, at]
        of_tiers = [self._disputed(asked, self.terms.tiers[tier]) for tier, asked in kinds.items()]
        return np.stack([self._disputed(self.blind.sum(axis=1), self.terms.blind), *of_tiers], axis=1)

    def _disputed(self, asked: Counts, work: Work) -> Counts:
        share = self.chance.beta(work.adjudicated + 0.5, work.settled - work.adjudicated + 0.5, RUNS)
        disputed: Counts = self.chance.binomial(asked, share)
        return disputed


def _error_rates(cells: Sequence[Cell], is_auto: NDArray[np.bool_], chance: np.random.Generator) -> Floats:
    """A draw of each cell's error share for each run; 0 where nothing is known (those are told apart as unknown).

    Jeffreys' half error belongs to what is approved as a whole, or to what is reviewed as a whole: a half for each of many
    small cells would be many errors that nobody saw.
    """
    sizes = np.array([cell.predictions if cell.looked else 0 for cell in cells], dtype=np.float64)
    rates = np.zeros((RUNS, len(cells)))
    for at, cell in enumerate(cells):
        if cell.looked:
            prior = 0.5 * sizes[at] / sizes[is_auto == is_auto[at]].sum()
            rates[:, at] = chance.beta(cell.wrong + prior, cell.looked - cell.wrong + prior, RUNS)
    return rates


def _seconds(answers: Counts, times: Times, chance: np.random.Generator) -> Floats:
    """Time that so many answers take: the mean is known from so many, and each answer differs."""
    mean = chance.normal(times.mean, times.deviation / math.sqrt(times.answers), RUNS)
    spent: Floats = chance.normal(answers * mean, times.deviation * np.sqrt(answers))
    return np.maximum(spent, 0.0)


def _unknown(cells: Sequence[Cell], terms: Terms, budget: float, confidence: float) -> tuple[Unknown, ...]:
    total = sum(cell.predictions for cell in cells)
    draws = draws_that_tell(budget, confidence)
    return tuple(
        Unknown(cell.tier, cell.predictions, cell.predictions / total, cell.chance, draws)
        for cell in cells
        if cell.tier == terms.auto_tier and cell.looked == 0
    )


def _range(values: Counts | Floats) -> Range:
    """Of counts the ends are counts: with discrete figures the range covers at least `LEVEL`."""
    tail = (1.0 - LEVEL) / 2.0
    ranked = np.sort(values.astype(np.float64))
    last = len(ranked) - 1
    low, high = ranked[round(tail * last)], ranked[min(last, math.ceil((1.0 - tail) * last))]
    return Range(float(ranked.mean()), float(low), float(high))


def _share(part: Counts | Floats, whole: Counts) -> Range | None:
    """The ratio in each run; None where the whole can be nothing."""
    known = whole > 0
    if known.mean() < LEVEL:
        return None
    return _range(part[known] / whole[known])
