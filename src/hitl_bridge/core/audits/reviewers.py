"""How often a review errs, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """A number that lies between `low` and `high`, and is most likely `likely` (the middle if None)."""

    low: float
    high: float
    likely: float | None = None

    @property
    def best(self) -> float:
        return (self.low + self.high) / 2 if self.likely is None else self.likely


NOTHING = Bounds(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class ReviewerError:
    """How often a review as a whole (adjudication included) errs: `false_alarm` says wrong of what is right, `miss` right of
    what is wrong. `doubt` is the chance that these bounds themselves are off; whoever uses them pays for it."""

    false_alarm: Bounds = NOTHING
    miss: Bounds = NOTHING
    doubt: float = 0.0


FAULTLESS = ReviewerError()
"""Taken where nothing is known of the reviewers."""


def share_bounds(happened: int, of: int, doubt: float) -> Bounds:
    """The exact bounds of a share (Clopper & Pearson 1934), off with probability at most `doubt`; 0 to 1 of nothing."""
    from scipy.stats import beta

    if of == 0:
        return Bounds(0.0, 1.0)
    low = float(beta.ppf(doubt / 2, happened, of - happened + 1)) if happened else 0.0
    high = float(beta.ppf(1 - doubt / 2, happened + 1, of - happened)) if happened < of else 1.0
    return Bounds(low, high, happened / of)


def whole_misses(misses: int, of: int, doubt: float) -> Bounds:
    """How often a whole review calls right what the model has wrong: where a reviewer errs in the model's own way, or else an
    adjudicator does, who is taken to do so no more often than reviewers. From blind answers to items with a known answer."""
    first = share_bounds(misses, of, doubt)
    return Bounds(first.low, 1 - (1 - first.high) ** 2, 1 - (1 - first.best) ** 2)
