"""How many reviews the bridge needs for what more reviews drawn at random would give: with words, and with sentence embeddings.

    python benchmarks/label_efficiency.py [--data DIR] [--encoder DIR] [--full]

Banking77's training queries wait; each round the bridge's own selection picks 200 of them, reviewers label them
(rightly), and a model is trained on all that is labelled. Counted is at how many labels the mean accuracy of the campaigns on
the test queries reaches what 3,900 labels drawn at random give: the mean of 20 draws, since draws differ by a few queries in a
thousand, which are worth hundreds of labels. The curve of the means is made to rise steadily (`picking.rising`), so that a lucky
round does not count as reached. Labels drawn at random go through the same count in the same run: about 3,900 must come out.
The second model reads the vectors of an encoder in a local folder, by the trainer `sentence-embeddings`; without `--encoder` it
is left out, and said so.
`review_budget.py` tells how the selection fares with reviewers who err, and how long it takes.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

from picking import (
    EACH,
    Campaign,
    Data,
    Picker,
    Round,
    Vectors,
    accuracy_by_chance,
    bridge,
    by_margin,
    labels_needed,
    rising,
)
from queries import DataMissing, Query, read_halves
from report import Report, at_most

from hitl_bridge.core.triage.selection import ReviewBudget, SpreadOver
from hitl_bridge.errors import UsageError
from hitl_bridge.stages.trainers import Setup
from hitl_bridge.stages.trainers.sentence_embeddings import open_sentence_transformer

BY_CHANCE = 3_900
"""Labels drawn at random, whose accuracy is to be reached."""

DRAWS = 20
"""How often they are drawn: the standard error of the mean is then 0.001."""

BEYOND, AROUND = 800, 1_000
"""Labels by which campaigns go on beyond their bar, and random ones on both sides of `BY_CHANCE`: what comes after a crossing
tells whether it was luck."""

FIRST_SEED = 300
"""What the selection does was chosen on other seeds (0 to 4, and 100 to 107)."""

STOPS = (700, 1_100, 1_500, 2_100)
"""Labels at which picked and drawn ones are compared."""

_NO_DATA = 2


@dataclass(frozen=True, slots=True)
class Kind:
    """What the model reads, the `triage.spread_over` that is advised for it, and the most labels that the bridge may need."""

    name: str
    says: str
    data: Data
    advised: SpreadOver
    bar: int


def main() -> int:
    arguments = _arguments()
    try:
        kinds = _kinds(arguments)
    except (DataMissing, UsageError) as missing:
        print(missing, file=sys.stderr)
        return _NO_DATA
    report, seeds = Report("label_efficiency"), range(FIRST_SEED, FIRST_SEED + (5 if arguments.full else 3))
    for kind in kinds:
        _tell(kind, report, seeds, thorough=arguments.full)
    if arguments.encoder is None:
        report.add("labels, embeddings", "labels, sentence embeddings", "not measured: no --encoder")
    return report.finish()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "banking77")
    parser.add_argument("--encoder", type=Path, help="folder of a sentence-transformers checkpoint (docs/trainers.md)")
    parser.add_argument("--full", action="store_true", help="five seeds, and other ways of picking")
    return parser.parse_args()


def _kinds(arguments: argparse.Namespace) -> list[Kind]:
    training, testing = read_halves(arguments.data)
    kinds = [Kind("words", "TF-IDF", Data(training, testing), SpreadOver.WORDS, 2_500)]
    if arguments.encoder is not None:
        vectors = _vectors(arguments.encoder, training, testing)
        kinds.append(Kind("embeddings", "sentence embeddings", Data(training, testing, vectors), SpreadOver.BOTH, 1_500))
    return kinds


def _vectors(folder: Path, training: Sequence[Query], testing: Sequence[Query]) -> tuple[Vectors, Vectors]:
    started = time.perf_counter()
    encoder = open_sentence_transformer(folder, Setup(Path.cwd(), ()))
    known, unseen = (encoder.vectors([query.text for query in some]) for some in (training, testing))
    print(f"{len(known) + len(unseen):,} texts encoded in {time.perf_counter() - started:,.0f} s", file=sys.stderr)
    return known, unseen


def _tell(kind: Kind, report: Report, seeds: Sequence[int], *, thorough: bool) -> None:
    target = statistics.fmean(accuracy_by_chance(kind.data, FIRST_SEED + draw, BY_CHANCE) for draw in range(DRAWS))
    says = f"{kind.says}: accuracy of {BY_CHANCE:,} labels drawn at random, mean of {DRAWS} draws"
    report.add(f"target, {kind.name}", says, round(target, 4))
    around = range(BY_CHANCE - AROUND, BY_CHANCE + AROUND + 1, EACH)
    drawn = [[Round(labels, accuracy_by_chance(kind.data, seed, labels)) for labels in around] for seed in seeds]
    _tell_labels(kind, report, "drawn at random", drawn, target, None)
    for name, picker, over, bar in _ways(kind, thorough=thorough):
        campaigns = [
            Campaign(kind.data, picker, seed, kind.data.truth, kind.bar + BEYOND, spread_over=over).run() for seed in seeds
        ]
        _tell_labels(kind, report, name, campaigns, target, bar)
        if bar is not None:
            _tell_curve(kind, report, seeds, campaigns)


_Way: TypeAlias = tuple[str, Picker, SpreadOver | None, int | None]
"""A way of picking: name, which, what is spread over, and the bar that is to be kept."""


def _ways(kind: Kind, *, thorough: bool) -> list[_Way]:
    """The bar is for what the documentation tells one to set for such a model."""
    arm = ReviewBudget(EACH, timedelta(days=1)).random_arm
    ways: list[_Way] = [(f"spread_over: {kind.advised}, as advised", bridge(arm), kind.advised, kind.bar)]
    more: list[_Way] = [(f"spread_over: {over}", bridge(arm), over, None) for over in SpreadOver if over is not kind.advised]
    if kind.data.vectors is not None:
        more.append(("spread over the encoder's vectors, which a bridge does not have", bridge(arm), None, None))
    more += [("no random arm", bridge(0.0), kind.advised, None), ("plain margin", by_margin, None, None)]
    return ways + more if thorough else ways


def _tell_labels(
    kind: Kind, report: Report, name: str, campaigns: Sequence[Sequence[Round]], target: float, bar: int | None
) -> None:
    needed = labels_needed(rising(campaigns), target)
    aim = None if bar is None else at_most(math.inf if needed is None else needed, bar)
    report.add(f"labels, {kind.name}, {name}", f"· labels for the same, {name}", needed, aim)
    alone = [labels_needed(rising([rounds]), target) for rounds in campaigns]
    by_seed = " · ".join("not reached" if each is None else f"{each:,.0f}" for each in alone)
    report.add(f"by seed, {kind.name}, {name}", "· · each seed alone", by_seed)


def _tell_curve(kind: Kind, report: Report, seeds: Sequence[int], campaigns: Sequence[Sequence[Round]]) -> None:
    """Accuracy of picked labels beside as many drawn at random."""
    for stop in STOPS:
        picked = [each.accuracy for rounds in campaigns for each in rounds if each.labels == stop]
        drawn = [accuracy_by_chance(kind.data, seed, stop) for seed in seeds]
        both: Mapping[str, float] = {"picked": round(statistics.fmean(picked), 3), "drawn": round(statistics.fmean(drawn), 3)}
        report.add(f"accuracy, {kind.name}, {stop}", f"· accuracy after {stop:,} labels", both)


if __name__ == "__main__":
    sys.exit(main())
