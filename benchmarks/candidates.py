"""The reference candidates of the gate: a champion of 3,000 labels, and five models that want to replace it.

Each knows Banking77's queries by TF-IDF of words and pairs of words and a logistic regression with C = 10. What measures them
is set aside first: the 3,080 test queries and 2,003 training queries drawn at random, 66 of each intent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from picking import Codes, Data, Learnt, Places
from queries import Query

LABELS, MORE = 3_000, 1_000
MEASURING = 2_003
WRONG_ANYWHERE, WRONG_HERE = 0.15, 0.80
RUINED = 2
SCENARIOS = 10
"""Blocks of intents in the order of the alphabet, as slices that are named before there is a candidate."""

Flags = npt.NDArray[np.bool_]
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """A model on the queries that measure: whether it is right, and how sure it is."""

    right: Flags
    confidence: Shares


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw of everything: who is measured, on what, and the intents that are ruined in two of the candidates."""

    truth: Codes
    scenario: Codes
    ruined: Codes
    champion: Scored
    candidates: Mapping[str, Scored]

    def lost_in_ruined(self, name: str) -> float:
        here = np.isin(self.truth, self.ruined)
        return float(self.champion.right[here].mean() - self.candidates[name].right[here].mean())


def draw_candidates(training: Sequence[Query], testing: Sequence[Query], seed: int) -> Draw:
    """Trains all six models; the same seed draws the same."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(training))
    measuring = [*testing, *(training[place] for place in order[:MEASURING])]
    data = Data([training[place] for place in order[MEASURING:]], measuring)
    known = rng.permutation(len(data.training)).astype(np.intp)
    first, rest = known[:LABELS], known[LABELS:]
    champion = Learnt.of(data, first, data.truth)
    intents = int(data.truth.max()) + 1
    block = int(rng.integers(SCENARIOS))
    ruined = rng.choice(np.flatnonzero(_scenario(np.arange(intents), intents) == block), RUINED, replace=False)
    material = _material(champion, first, rest, ruined, rng)
    return Draw(
        truth=data.tested,
        scenario=_scenario(data.tested, intents),
        ruined=ruined,
        champion=_scored(champion),
        candidates={name: _scored(Learnt.of(data, rows, labels)) for name, rows, labels in material},
    )


def _scenario(codes: Codes, intents: int) -> Codes:
    return codes * SCENARIOS // intents


def _material(
    champion: Learnt, first: Places, rest: Places, ruined: Codes, rng: np.random.Generator
) -> Iterator[tuple[str, Places, Codes]]:
    """Name, rows and the labels that reviewers gave (of all rows) of each candidate."""
    truth = champion.data.truth
    chosen = rest[np.argsort(champion.margins(rest), kind="stable")[:MORE]]
    more = np.concatenate([first, chosen])
    yield "good", more, truth
    yield "neutral", rng.permutation(rest)[:LABELS], truth
    yield "bad", first, _scattered(truth, rng.random(len(truth)) < WRONG_ANYWHERE, rng)
    wrong = np.isin(truth, ruined) & (rng.random(len(truth)) < WRONG_HERE)
    yield "slice, errors scattered", more, _scattered(truth, wrong, rng)
    yield "slice, always the same error", more, _confused(champion, rest, ruined, wrong)


def _scattered(truth: Codes, wrong: Flags, rng: np.random.Generator) -> Codes:
    """Any other intent takes the place of the right one."""
    intents = int(truth.max()) + 1
    return np.where(wrong, (truth + rng.integers(1, intents, len(truth))) % intents, truth)


def _confused(champion: Learnt, rows: Places, ruined: Codes, wrong: Flags) -> Codes:
    """As reviewers err who misunderstand an intent: each time the one that is most easily taken for it."""
    truth, scores = champion.data.truth, _scores(champion, rows)
    labels = truth.copy()
    for intent in ruined:
        likely = scores[truth[rows] == intent].mean(axis=0)
        likely[intent] = 0.0
        labels[wrong & (truth == intent)] = int(likely.argmax())
    return labels


def _scores(model: Learnt, rows: Places) -> Shares:
    """A column an intent, those included that the model has never seen."""
    scores = np.zeros((len(rows), int(model.data.truth.max()) + 1))
    scores[:, model.model.classes_] = model.model.predict_proba(model.data.known[rows][:, model.columns])
    return scores


def _scored(model: Learnt) -> Scored:
    scores = model.model.predict_proba(model.data.unseen[:, model.columns])
    said = model.model.classes_[scores.argmax(axis=1)]
    return Scored(said == model.data.tested, scores.max(axis=1))
