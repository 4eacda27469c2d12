"""What to ask people when they can't see everything: the bridge's own selection, beside chance and the plain margin.

    python benchmarks/review_budget.py [--data DIR] [--full]

How many labels of Banking77 reach the accuracy that 3,900 labels drawn at random reach; what is left of that when reviewers err,
and when they err on the very items that are doubtful; what only the random arm can tell; and how long a selection takes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from picking import (
    Campaign,
    Codes,
    Data,
    Picker,
    Round,
    accuracy_by_chance,
    bridge,
    by_margin,
    enumerated,
    erring_anyhow,
    erring_where_it_is_doubtful,
    guessing_what_is_unclear,
    labels_needed,
)
from queries import DataMissing, read_halves
from report import Report, at_most, exactly

from hitl_bridge.core.triage.selection import SpreadOver, Waiting, features_of, select

BY_CHANCE = 3_900
"""Labels drawn at random, whose accuracy is to be reached."""

BAR = 2_900
"""The most that margin with one a cluster may need for that (3 seeds; the reference figure is 2,532)."""

STOPS = (1_500, 2_700)
"""Labels after which the campaigns with reviewers who err are compared."""

PICKERS: Mapping[str, Picker] = {
    "plain margin": by_margin,
    "spread, no random arm": bridge(0.0),
    "as it ships (random arm 0.1)": bridge(0.1),
}
_NO_DATA = 2


def main() -> int:
    arguments = _arguments()
    try:
        training, testing = read_halves(arguments.data)
    except DataMissing as missing:
        print(missing, file=sys.stderr)
        return _NO_DATA
    data, report = Data(training, testing), Report("review_budget")
    seeds = range(5 if arguments.full else 3)
    campaigns = _tell_labels(data, report, seeds)
    _tell_arm(report, campaigns)
    _tell_errors(data, report, seeds if arguments.full else seeds[:1])
    _tell_speed(report, [query.text for query in training])
    return report.finish()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "banking77")
    parser.add_argument("--full", action="store_true", help="five seeds everywhere: an hour")
    return parser.parse_args()


def _tell_labels(data: Data, report: Report, seeds: Sequence[int]) -> list[list[Round]]:
    """Returns the rounds of the selection as it ships."""
    targets = {seed: accuracy_by_chance(data, seed, BY_CHANCE) for seed in seeds}
    report.add("target", f"accuracy of {BY_CHANCE:,} labels drawn at random", statistics.fmean(targets.values()))
    campaigns: list[list[Round]] = []
    for name, picker in PICKERS.items():
        campaigns = [Campaign(data, picker, seed, data.truth, BY_CHANCE, targets[seed]).run() for seed in seeds]
        needed = [labels_needed(rounds, targets[seed]) or float(BY_CHANCE) for seed, rounds in zip(seeds, campaigns, strict=True)]
        mean = statistics.fmean(needed)
        aim = None if picker is by_margin else at_most(mean, BAR)
        report.add(f"labels, {name}", f"labels for the same, {name}", mean, aim)
        report.add(f"saved, {name}", "· share saved", 1 - mean / BY_CHANCE)
        report.add(f"by seed, {name}", "· by seed", " · ".join(f"{each:,.0f}" for each in needed))
    return campaigns


def _tell_arm(report: Report, campaigns: Sequence[Sequence[Round]]) -> None:
    """How far the picks' own errors are from those of all that wait: only what was drawn can tell."""
    rounds = [each for rounds in campaigns for each in rounds if each.all_wrong is not None]
    truth = statistics.fmean(each.all_wrong or 0.0 for each in rounds)
    by_doubt = statistics.fmean(each.doubtful_wrong or 0.0 for each in rounds)
    drawn = statistics.fmean(each.drawn_wrong for each in rounds if each.drawn_wrong is not None)
    report.add("error, all", f"the model's error on all that wait, mean of {len(rounds)} rounds", truth)
    report.add("error, by doubt", "· on those that were picked by doubt", by_doubt)
    report.add("error, by chance", "· on the random arm", drawn)
    report.add("arm off", "· by how much that is off", round(abs(drawn - truth), 3), at_most(round(abs(drawn - truth), 3), 0.04))


def _tell_errors(data: Data, report: Report, seeds: Sequence[int]) -> None:
    kinds: Mapping[str, tuple[Callable[[Data, float, int], Codes], float]] = {
        "15 % err anyhow": (erring_anyhow, 0.15),
        "15 % err, where it is doubtful": (erring_where_it_is_doubtful, 0.15),
        "30 % can't be judged and are guessed": (guessing_what_is_unclear, 0.30),
    }
    pickers = {"chance": bridge(1.0), **PICKERS, "random arm 0.3": bridge(0.3)}
    for kind, (answers, rate) in kinds.items():
        said = {seed: answers(data, rate, seed) for seed in seeds}
        runs = {
            name: [Campaign(data, each, seed, said[seed], STOPS[-1]).run() for seed in seeds] for name, each in pickers.items()
        }
        for stop in STOPS:
            reached = {name: round(_accuracy_at(stop, campaigns), 3) for name, campaigns in runs.items()}
            report.add(f"{kind}, {stop}", f"accuracy after {stop:,} labels, of which {kind}", reached)


def _accuracy_at(labels: int, campaigns: Sequence[Sequence[Round]]) -> float:
    return statistics.fmean(each.accuracy for rounds in campaigns for each in rounds if each.labels == labels)


def _tell_speed(report: Report, texts: Sequence[str]) -> None:
    """100,000 waiting texts of two queries each with 77 scores, and room for 500."""
    rng = np.random.default_rng(0)
    waiting = [f"{texts[one]} {texts[other]}" for one, other in rng.integers(0, len(texts), (100_000, 2))]
    scores = rng.dirichlet(np.full(77, 0.1), len(waiting))

    def features(places: Sequence[int]) -> object:
        some = [dict(enumerated(scores[place])) for place in places]
        return features_of(SpreadOver.BOTH, [waiting[place] for place in places], some)

    among = Waiting(
        rng.random(len(waiting)).tolist(),
        rng.random(len(waiting)).tolist(),
        features,
        SpreadOver.BOTH.weighs_doubt,
    )
    started = time.perf_counter()
    first = select(among, 500, random_arm=0.1, rounding=0.5)
    seconds = time.perf_counter() - started
    again = select(among, 500, random_arm=0.1, rounding=0.5)
    report.add(
        "picked",
        "of 100,000 waiting, picked",
        len(first.by_doubt) + len(first.by_chance),
        exactly(len(first.by_doubt) + len(first.by_chance), 500),
    )
    report.add("same again", "· the same again", first == again)
    report.add("seconds", "· seconds ¹", round(seconds, 2), at_most(seconds, 5.0))


if __name__ == "__main__":
    sys.exit(main())
