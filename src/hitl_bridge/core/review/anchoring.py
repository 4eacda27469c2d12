"""Anchoring: how much more often a wrong answer of the model is accepted when it is shown than when it is not.

A keyed draw decides which reviews are blind, so those that see a wrong answer and those that don't differ in nothing else, and
the difference of the two shares is what showing it does. Each share has Wilson's interval; that of the difference puts them
together as Newcombe does (Statistics in Medicine 1998, method 10), over parts drawn at different rates with Cochran's and
Mantel-Haenszel's weights (Yan & Su, Statistics in Biopharmaceutical Research 2010): with one part it is Newcombe's interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Arms:
    """Answers to items of which the model's answer is known to be wrong: so many were `shown` it, of whom `taken_shown` gave it
    themselves; so many were not (`blind`), of whom `taken_blind` came to it alone. All were drawn at the same rate."""

    shown: int
    taken_shown: int
    blind: int
    taken_blind: int


@dataclass(frozen=True, slots=True)
class Anchoring:
    """`excess` is the share of wrong answers that are taken because they are shown, and between what it lies; None (from −1 to 1)
    where one of the two arms is empty. `shown` and `blind` are the shares themselves, None where there is nothing."""

    excess: float | None
    low: float
    high: float
    shown: float | None
    blind: float | None
    answers_shown: int
    answers_blind: int


@dataclass(frozen=True, slots=True)
class Look:
    """An answer to an item whose true answer is known and whose model's answer is wrong. `rate` is the probability with which it
    was drawn to be blind."""

    blind: bool
    rate: float
    took_it: bool


def arms(looks: Iterable[Look]) -> tuple[Arms, ...]:
    """By the rate of the draw. What could not have been otherwise (drawn with 0 or 1) has nothing to be compared with."""
    counts: dict[float, list[int]] = {}
    for look in looks:
        if 0 < look.rate < 1:
            cell = counts.setdefault(look.rate, [0, 0, 0, 0])
            cell[2 * look.blind] += 1
            cell[2 * look.blind + 1] += look.took_it
    return tuple(Arms(*cell) for _, cell in sorted(counts.items()))


def anchoring(parts: Sequence[Arms], confidence: float = 0.95) -> Anchoring:
    """What showing the model's answer does to reviewers, with an interval that holds it with that `confidence`."""
    shown, blind = sum(part.shown for part in parts), sum(part.blind for part in parts)
    shares = (
        sum(part.taken_shown for part in parts) / shown if shown else None,
        sum(part.taken_blind for part in parts) / blind if blind else None,
    )
    both = [part for part in parts if part.shown and part.blind]
    if not both:
        return Anchoring(None, -1.0, 1.0, *shares, shown, blind)
    weights = [part.shown * part.blind / (part.shown + part.blind) for part in both]
    weights = [weight / sum(weights) for weight in weights]
    excess, below, above = 0.0, 0.0, 0.0
    for weight, part in zip(weights, both, strict=True):
        seen, alone = part.taken_shown / part.shown, part.taken_blind / part.blind
        of_seen = wilson(part.taken_shown, part.shown, confidence)
        of_alone = wilson(part.taken_blind, part.blind, confidence)
        excess += weight * (seen - alone)
        below += weight**2 * ((seen - of_seen[0]) ** 2 + (of_alone[1] - alone) ** 2)
        above += weight**2 * ((of_seen[1] - seen) ** 2 + (alone - of_alone[0]) ** 2)
    return Anchoring(excess, excess - sqrt(below), excess + sqrt(above), *shares, shown, blind)


def wilson(happened: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share (J. Am. Statistical Association 1927); 0 to 1 of nothing."""
    if of == 0:
        return 0.0, 1.0
    z2 = NormalDist().inv_cdf(0.5 + confidence / 2) ** 2
    middle = (happened + z2 / 2) / (of + z2)
    half = sqrt(z2 * (happened * (of - happened) / of + z2 / 4)) / (of + z2)
    return max(0.0, middle - half), min(1.0, middle + half)
