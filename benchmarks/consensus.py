"""Consensus of several reviewers: how often is it right?

    python benchmarks/consensus.py [--data DIR] [--full]

Real answers of 164 and 76 people to 800 and 462 items whose truth experts know (Snow et al., EMNLP 2008: RTE, TEMP; ten answers
an item). For each number of answers an item, that many are drawn for every item, again and again; the one rule of
`hitl_bridge.core.review.reliability` (a single answer stands for itself; up to five classes a table of confusions a reviewer)
settles the items from these answers alone. Ties count as the share of the tied classes that is right. Beside it, on the same
draws: a plain vote, and Dawid & Skene's method as they published it.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from report import Aim, Report, at_least

from hitl_bridge.core.review.agreement import alpha
from hitl_bridge.core.review.reliability import Votes, weigh

Numbers: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.int64]

BEST: Mapping[str, Mapping[int, float]] = {
    "rte": {1: 0.726, 2: 0.771, 3: 0.842, 5: 0.898, 10: 0.9275},
    "temp": {1: 0.726, 2: 0.836, 3: 0.890, 5: 0.932, 10: 0.944},
}
"""The best of nine methods in METHODS 4 (vote, Wawa, Dawid-Skene, one-coin, GLAD, MACE, KOS, …), for each number of answers its
own best; up to five answers the mean of five draws."""

ALPHA = {"rte": 0.241, "temp": 0.223}
DRAWS, MORE_DRAWS = 200, 1_000
_NO_DATA = 2
_SEED = 20_260


@dataclass(frozen=True)
class Answered:
    """A data set: its answers, and each item's truth."""

    name: str
    votes: Votes
    gold: Places


def read(folder: Path, name: str) -> Answered:
    with (folder / f"matrix_{name}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {field: np.unique([row[field] for row in rows], return_inverse=True) for field in ("task", "worker", "label")}
    classes = [str(each) for each in columns["label"][0]]
    gold = {row["task"]: classes.index(row["gold"]) for row in rows}
    votes = Votes(
        *(columns[field][1] for field in ("task", "worker", "label")), *(len(columns[f][0]) for f in ("task", "worker", "label"))
    )
    return Answered(name, votes, np.array([gold[str(task)] for task in columns["task"][0]]))


def drawn(votes: Votes, answers: int, rng: np.random.Generator) -> Votes:
    """So many answers of each item, at random."""
    order = rng.permutation(len(votes.item))
    order = order[np.argsort(votes.item[order], kind="stable")]
    sorted_items = votes.item[order]
    kept = order[np.arange(len(order)) - np.searchsorted(sorted_items, sorted_items) < answers]
    return replace(votes, item=votes.item[kept], reviewer=votes.reviewer[kept], said=votes.said[kept])


def right(belief: Numbers, gold: Places) -> float:
    best = belief > belief.max(axis=1, keepdims=True) - 1e-9
    return float((best[np.arange(len(gold)), gold] / best.sum(axis=1)).mean())


def vote(votes: Votes) -> Numbers:
    counts = np.zeros((votes.items, votes.classes))
    np.add.at(counts, (votes.item, votes.said), 1.0)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def as_published(votes: Votes, rounds: int = 100) -> Numbers:
    """Dawid & Skene 1979: maximum likelihood by EM, from the vote."""
    belief = vote(votes)
    for _ in range(rounds):
        tables = np.full((votes.reviewers, votes.classes, votes.classes), 1e-10)
        np.add.at(tables.transpose(0, 2, 1), (votes.reviewer, votes.said), belief[votes.item])
        evidence = np.tile(np.log(belief.mean(axis=0) + 1e-12), (votes.items, 1))
        np.add.at(evidence, votes.item, np.log(tables / tables.sum(axis=2, keepdims=True))[votes.reviewer, :, votes.said])
        evidence = np.exp(evidence - evidence.max(axis=1, keepdims=True))
        belief = evidence / evidence.sum(axis=1, keepdims=True)
    return belief


def knowing(gold: Places) -> Callable[[Votes], Numbers]:
    """What nobody has: every reviewer's table counted from the truth of all the other items."""

    def settle(votes: Votes) -> Numbers:
        everything = weigh(replace(votes, known=gold))
        before = 4.0 * np.where(np.eye(votes.classes) > 0, everything.accuracy, (1 - everything.accuracy) / (votes.classes - 1))
        own = np.eye(votes.classes)[gold][votes.item]
        said = everything.tables[votes.reviewer, :, votes.said] - own + before[:, votes.said].T
        of = everything.tables.sum(axis=2)[votes.reviewer] - own + 4.0
        evidence = np.zeros((votes.items, votes.classes))
        np.add.at(evidence, votes.item, np.log(said) - np.log(of))
        return np.asarray(np.exp(evidence - evidence.max(axis=1, keepdims=True)))

    return settle


def _calibrated(belief: Numbers, gold: Places) -> tuple[float, float]:
    """Of the items of which the consensus is at least 90 % sure: the mean probability claimed, and the share that is right."""
    sure = belief.max(axis=1) >= 0.9
    if not sure.any():
        return float("nan"), float("nan")
    return float(belief.max(axis=1)[sure].mean()), float((belief.argmax(axis=1) == gold)[sure].mean())


def _measure(report: Report, data: Answered, answers: int, draws: int) -> None:
    rng = np.random.default_rng([_SEED, answers, len(data.gold)])
    methods: dict[str, Callable[[Votes], Numbers]] = {
        "chosen": lambda votes: weigh(votes).probability,
        "vote": vote,
        "as_published": as_published,
        "known_tables": knowing(data.gold),
        "prior_2": lambda votes: weigh(votes, 2.0).probability,
        "prior_8": lambda votes: weigh(votes, 8.0).probability,
    }
    found: dict[str, list[float]] = {name: [] for name in methods}
    claims = []
    for _ in range(draws if answers < 10 else 1):
        some = drawn(data.votes, answers, rng)
        for name, settle in methods.items():
            belief = settle(some)
            found[name].append(right(belief, data.gold))
            if name == "chosen":
                claims.append(_calibrated(belief, data.gold))
    _told(report, data, answers, found, claims)


def _told(
    report: Report, data: Answered, answers: int, found: Mapping[str, Sequence[float]], claims: Sequence[tuple[float, float]]
) -> None:
    means = {name: float(np.mean(values)) for name, values in found.items()}
    key, says = f"{data.name}_{answers}", f"{data.name.upper()}, {answers} answer{'s' * (answers > 1)} an item"
    error = float(np.std(found["chosen"]) / np.sqrt(len(found["chosen"])))
    if answers == 1:
        same = means["chosen"] >= means["vote"]
        report.add(key, f"{says}: right", means["chosen"], Aim("the answer itself, no worse", same))
        return
    best = BEST[data.name][answers]
    shown = round(means["chosen"], 4 if best == 0.9275 else 3)
    report.add(key, f"{says}: right", shown, at_least(shown, best))
    if error:
        report.add(f"{key}_error", "· standard error of that mean", error)
    report.add(f"{key}_beside", "· on the same draws", {name: round(means[name], 4) for name in list(means)[1:]})
    beats = means["chosen"] - max(means["vote"], means["as_published"])
    report.add(f"{key}_gain", "· more than the better of vote and Dawid-Skene as published", beats, at_least(beats, 0.0))
    sure = [each for each in claims if not np.isnan(each[0])]
    if sure:
        claimed, true = (float(np.mean([each[place] for each in sure])) for place in (0, 1))
        report.add(f"{key}_sure", "· where it claims 90 % or more: claimed, right", f"{claimed:.3f}, {true:.3f}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/snow2008"), help="Snow 2008 (see docs/benchmarks.md)")
    parser.add_argument("--full", action="store_true", help=f"{MORE_DRAWS} draws instead of {DRAWS}")
    given = parser.parse_args(arguments)
    report = Report("consensus")
    for name, known in ALPHA.items():
        if not (given.data / f"matrix_{name}.csv").is_file():
            print(f"There is no matrix_{name}.csv in {given.data}; name the folder with --data.", file=sys.stderr)
            return _NO_DATA
        data = read(given.data, name)
        measured = round(alpha(data.votes) or 0.0, 3)
        report.add(f"{name}_alpha", f"{name.upper()}: Krippendorff's alpha", measured, Aim(str(known), measured == known))
        for answers in BEST[name]:
            _measure(report, data, answers, MORE_DRAWS if given.full else DRAWS)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
