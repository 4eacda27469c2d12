"""Many classes and few answers: what is the consensus worth, with the model's say and without?

    python benchmarks/many_classes.py [--data DIR] [--full]

Banking77's 3,080 test queries, 77 classes. A TF-IDF model is trained on a part of the training queries; two or three of twelve
simulated reviewers answer each item, each right with a chance of 0.70 to 0.98 by domain (ten domains); who errs says what
another kind of model (characters) finds likely. In the second half four of the twelve keep the model's answer unread half the
time. Settled by the one rule of `hitl_bridge.core.review.reliability`, as where a tier says `consensus: weighted`; on the same
answers a vote whose ties the model breaks, Dawid & Skene as published, and CROWDLAB by its paper (Goh et al., 2022).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from consensus import as_published, right, vote
from numpy.typing import NDArray
from queries import DataMissing, Query, read_halves
from report import Report, at_least

from hitl_bridge.core.review.reliability import Votes, weigh

Numbers: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.int64]

REVIEWERS, DOMAINS, STAMPING = 12, 10, 4
TRAINED_ON, OTHER_TRAINED_ON = 4_000, 2_500
SEEDS, MORE_SEEDS = range(100, 105), range(100, 120)
"""The rule's constants were chosen on seeds 0 to 2."""

_NO_DATA = 2


@dataclass(frozen=True)
class World:
    """Items with their true classes; what the model makes of each, and what looks alike to people."""

    truth: Places
    model: Numbers
    alike: Numbers

    @property
    def classes(self) -> int:
        return int(self.model.shape[1])


def world(training: Sequence[Query], testing: Sequence[Query]) -> World:
    from sklearn.feature_extraction.text import TfidfVectorizer

    names = sorted({query.intent for query in training})
    codes = {name: place for place, name in enumerate(names)}
    rng = np.random.default_rng(5)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=2, max_features=30_000)
    model = _chances(words, 10.0, _some(training, TRAINED_ON, rng), testing, codes)
    alike = _chances(characters, 3.0, _some(training, OTHER_TRAINED_ON, rng), testing, codes)
    return World(np.array([codes[query.intent] for query in testing]), model, alike)


def _some(queries: Sequence[Query], count: int, rng: np.random.Generator) -> list[Query]:
    return [queries[place] for place in rng.permutation(len(queries))[:count]]


def _chances(
    features: Any, strength: float, training: Sequence[Query], testing: Sequence[Query], codes: Mapping[str, int]
) -> Numbers:
    from sklearn.linear_model import LogisticRegression

    learner = LogisticRegression(C=strength, max_iter=300)
    learner.fit(features.fit_transform([query.text for query in training]), [codes[query.intent] for query in training])
    chances = np.full((len(testing), len(codes)), 1e-6)
    chances[:, learner.classes_] = learner.predict_proba(features.transform([query.text for query in testing]))
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def answers(found: World, count: int, seed: int, *, stamping: bool) -> Votes:
    """So many answers to each item, of different people."""
    rng = np.random.default_rng([seed, count, stamping])
    items, classes = found.model.shape
    domain = rng.permutation(np.arange(classes) % DOMAINS)
    skill = rng.uniform(0.70, 0.98, (REVIEWERS, DOMAINS))
    slips = found.alike.copy()
    slips[np.arange(items), found.truth] = 0.0
    slips = (slips / slips.sum(axis=1, keepdims=True)).cumsum(axis=1)
    reviewer = np.argsort(rng.random((items, REVIEWERS)), axis=1)[:, :count].reshape(-1)
    item = np.repeat(np.arange(items), count)
    slipped = np.minimum((slips[item] < rng.random(len(item))[:, None]).sum(axis=1), classes - 1)
    said = np.where(rng.random(len(item)) < skill[reviewer, domain[found.truth[item]]], found.truth[item], slipped)
    if stamping:
        unread = (reviewer < STAMPING) & (rng.random(len(item)) < 0.5)
        said = np.where(unread, found.model.argmax(axis=1)[item], said)
    return Votes(item, reviewer, said, items, REVIEWERS, classes)


def crowdlab(votes: Votes, model: Numbers) -> Numbers:
    """As in the paper, section 3: a mean of the model's and each reviewer's distribution, by how far each is to be trusted."""
    given = np.bincount(votes.item, minlength=votes.items)
    most = (vote(votes) + 1e-6 * model).argmax(axis=1)
    by_chance = float((most == np.bincount(most).argmax()).mean())
    agrees = float((votes.said == most[votes.item]).mean())
    counts = np.zeros((votes.items, votes.classes))
    np.add.at(counts, (votes.item, votes.said), 1.0)
    others = (counts[votes.item, votes.said] - 1) / np.maximum(1, given[votes.item] - 1)
    agreement = np.bincount(votes.reviewer, others, votes.reviewers) / np.bincount(votes.reviewer, minlength=votes.reviewers)
    trust = np.maximum(1e-6, 1 - (1 - agreement) / (1 - by_chance))
    in_model = max(1e-6, 1 - float((model.argmax(axis=1) != most).mean()) / (1 - by_chance)) * float(np.sqrt(given.mean()))
    found, total = in_model * model, np.full(votes.items, in_model)
    even = (1 - agrees) / (votes.classes - 1)
    np.add.at(found, votes.item, (trust[votes.reviewer] * even)[:, None])
    np.add.at(found, (votes.item, votes.said), trust[votes.reviewer] * (agrees - even))
    np.add.at(total, votes.item, trust[votes.reviewer])
    return np.asarray(found / total[:, None])


def _measure(report: Report, found: World, count: int, seeds: Sequence[int], *, stamping: bool) -> None:
    methods: dict[str, Callable[[Votes], Numbers]] = {
        "chosen": lambda votes: weigh(replace(votes, model=found.model)).probability,
        "crowdlab": lambda votes: crowdlab(votes, found.model),
        "vote, model breaks ties": lambda votes: np.asarray(vote(votes) + 1e-6 * found.model),
        "without the model": lambda votes: weigh(votes).probability,
        "dawid-skene": as_published,
    }
    scored: dict[str, list[float]] = {name: [] for name in methods}
    for seed in seeds:
        some = answers(found, count, seed, stamping=stamping)
        for name, settle in methods.items():
            scored[name].append(right(settle(some), found.truth))
    means = {name: float(np.mean(values)) for name, values in scored.items()}
    key = f"{'stamping' if stamping else 'careful'}_{count}"
    says = f"{count} answers{', four of twelve keep half unread' if stamping else ''}"
    best = max(means["crowdlab"], means["vote, model breaks ties"])
    report.add(key, f"{says}: right", round(means["chosen"], 4), at_least(round(means["chosen"], 4), round(best, 4)))
    report.add(f"{key}_error", "· standard error of that mean", float(np.std(scored["chosen"]) / np.sqrt(len(seeds))))
    report.add(f"{key}_beside", "· on the same answers", {name: round(means[name], 4) for name in list(means)[1:]})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "banking77")
    parser.add_argument("--full", action="store_true", help=f"{len(MORE_SEEDS)} draws instead of {len(SEEDS)}")
    given = parser.parse_args(arguments)
    try:
        found = world(*read_halves(given.data))
    except DataMissing as missing:
        print(missing, file=sys.stderr)
        return _NO_DATA
    report = Report("many_classes")
    report.add("model", "the model alone: right", float((found.model.argmax(axis=1) == found.truth).mean()))
    for stamping in (False, True):
        for count in (2, 3):
            _measure(report, found, count, MORE_SEEDS if given.full else SEEDS, stamping=stamping)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
