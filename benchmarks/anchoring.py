"""Anchoring: does the estimate hold the truth, and how wide is it?

    python benchmarks/anchoring.py [--full]

Reviewers who accept a wrong answer of the model in 30 % of the cases if they are shown it, and come to it themselves in 5 % if
not, work through gold items, some of them blind by the bridge's own keyed draw; from their answers the share that is accepted
*because* it is shown (25 points) is estimated. Its 95 % interval has to hold the truth, and to be hardly wider than that of who
knows both shares beforehand. Then the same with reviewers who differ from one another, and with a blind share that was changed
half way. No data are needed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from report import Report, at_least, at_most

from hitl_bridge.core import draws
from hitl_bridge.core.review.anchoring import Anchoring, Look, anchoring, arms

SHOWN, ALONE = 0.30, 0.05
TRUTH = SHOWN - ALONE
RUNS, MORE_RUNS = 100, 2_000
COVERED, WIDER = 0.90, 1.2
_SEED = 20_260
_Z = 1.959964


@dataclass(frozen=True)
class Design:
    """So many gold items with a wrong prediction, each answered once; reviewers' own shares lie around the truth by `spread`.
    `rates` are the blind shares in force, one after the other."""

    name: str
    says: str
    items: int
    rates: tuple[float, ...] = (0.25,)
    reviewers: int = 10
    spread: float = 0.0


DESIGNS = (
    Design("plain", "400 gold items, a quarter blind", 400),
    Design("few", "120 gold items, a quarter blind", 120),
    Design("even", "200 gold items, half blind", 200, (0.5,)),
    Design("changed", "400 gold items, blind share 10 %, then 40 %", 400, (0.1, 0.4)),
    Design("unlike", "400 gold items, reviewers from 10 % to 50 %", 400, spread=0.2),
)


def _between(rng: np.random.Generator, middle: float, spread: float, count: int) -> NDArray[np.float64]:
    """Shares of so many reviewers, whose mean is the middle."""
    offsets = rng.permutation(np.linspace(-1, 1, count))
    return middle + offsets * min(spread, middle)


def simulated(design: Design, run: int, rng: np.random.Generator) -> Anchoring:
    key = run.to_bytes(8, "big")
    shown, alone = (_between(rng, share, design.spread, design.reviewers) for share in (SHOWN, ALONE))
    looks = []
    for number in range(design.items):
        rate = design.rates[number * len(design.rates) // design.items]
        blind = draws.draw(key, "blind", "m-1", f"gold-{number}") < rate
        person = int(rng.integers(design.reviewers))
        looks.append(Look(blind, rate, bool(rng.random() < (alone if blind else shown)[person])))
    return anchoring(arms(looks))


def known_width(design: Design) -> float:
    """Of the interval of who knows both shares, and draws exactly as many as the rates say; parts weighted alike."""
    each = design.items / len(design.rates)
    parts = [(each * (1 - rate), each * rate) for rate in design.rates]
    weights = np.array([shown * blind / (shown + blind) for shown, blind in parts])
    weights /= weights.sum()
    spread = [SHOWN * (1 - SHOWN) / shown + ALONE * (1 - ALONE) / blind for shown, blind in parts]
    return 2 * _Z * sqrt(float((weights**2 * spread).sum()))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="not used: the reviewers are simulated")
    parser.add_argument("--full", action="store_true", help=f"{MORE_RUNS:,} runs of each design instead of {RUNS}")
    runs = MORE_RUNS if parser.parse_args(arguments).full else RUNS
    report = Report("anchoring")
    for number, design in enumerate(DESIGNS):
        rng = np.random.default_rng([_SEED, number])
        found = [simulated(design, run, rng) for run in range(runs)]
        covered = float(np.mean([each.low <= TRUTH <= each.high for each in found]))
        wider = float(np.mean([each.high - each.low for each in found])) / known_width(design)
        bias = float(np.mean([each.excess or 0.0 for each in found])) - TRUTH
        report.add(f"{design.name}_covered", f"{design.says}: interval holds the truth in", covered, at_least(covered, COVERED))
        report.add(f"{design.name}_width", "· its width, times that of who knows both shares", wider, at_most(wider, WIDER))
        report.add(f"{design.name}_bias", "· mean of the estimates less the truth", bias)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
