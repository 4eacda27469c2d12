"""How many labels a way of picking needs: queries are labelled in rounds, each picked with the model trained on those before.

The model is the one of the design's reference figures: logistic regression with C = 10 on TF-IDF of words and pairs of words, or
on vectors that are given. It has seen 300 labels at the start, and each round brings 200 more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from queries import Query
from scipy.sparse import issparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from hitl_bridge.core.draws import draw
from hitl_bridge.core.triage.selection import Selection, SpreadOver, Waiting, features_of, select
from hitl_bridge.core.triage.uncertainty import margin

FIRST, EACH = 300, 200
"""Labels at the start, and those of a round."""

_QUICKLY: Mapping[str, float] = {"max_iter": 100, "tol": 1e-3}
_AS_THE_TRAINER: Mapping[str, float] = {"max_iter": 300}
"""When fitting ends. With words early, which halves the time. With vectors that matters: stopped so early, the accuracy of the
same 3,900 labels was off by up to 0.006, as much as 250 picked labels are worth."""

Places: TypeAlias = "npt.NDArray[np.intp]"
Codes: TypeAlias = "npt.NDArray[np.int64]"
Vectors: TypeAlias = "npt.NDArray[np.float32]"
Picker: TypeAlias = "Callable[[Waiting, int, float], Selection]"
"""Waiting items, how many are wanted, and a draw for rounding → which."""


def by_bridge(waiting: Waiting, count: int, rounding: float, *, random_arm: float) -> Selection:
    """The bridge's own selection; with a random arm of 1 it picks at random."""
    return select(waiting, count, random_arm=random_arm, rounding=rounding)


def by_margin(waiting: Waiting, count: int, _rounding: float) -> Selection:
    """The smallest margins and nothing else."""
    return Selection(tuple(np.argsort(np.asarray(waiting.margins), kind="stable")[:count].tolist()))


def bridge(random_arm: float) -> Picker:
    return partial(by_bridge, random_arm=random_arm)


@dataclass(frozen=True)
class Data:
    """Queries that can be labelled, and those on which accuracy is measured; `vectors` are rows of both, in that order, for a
    model that reads them instead of words."""

    training: Sequence[Query]
    testing: Sequence[Query]
    vectors: tuple[Vectors, Vectors] | None = None

    @cached_property
    def truth(self) -> Codes:
        return self._codes(self.training)

    @cached_property
    def tested(self) -> Codes:
        return self._codes(self.testing)

    def _codes(self, queries: Sequence[Query]) -> Codes:
        return np.array([self._numbers[query.intent] for query in queries])

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(sorted({query.intent for query in self.training}))}

    @cached_property
    def _matrices(self) -> tuple[Any, Any]:
        """Rows of what the model reads: sparse ones of words, dense ones of vectors."""
        if self.vectors is not None:
            return self.vectors
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32)
        known = words.fit_transform([query.text for query in self.training])
        return known, words.transform([query.text for query in self.testing])

    @property
    def known(self) -> Any:
        return self._matrices[0]

    @property
    def unseen(self) -> Any:
        return self._matrices[1]

    def texts(self, rows: Places) -> list[str]:
        return [self.training[row].text for row in rows]


@dataclass(frozen=True)
class Learnt:
    """A model trained on some rows with the labels that reviewers gave. Terms that none of the rows has are left out: they would
    get no weight."""

    data: Data
    columns: Places
    model: LogisticRegression

    @classmethod
    def of(cls, data: Data, rows: Places, labels: Codes) -> Learnt:
        some = data.known[rows]
        columns = np.unique(some.indices).astype(np.intp) if issparse(some) else np.arange(some.shape[1])
        until = _QUICKLY if issparse(some) else _AS_THE_TRAINER
        model = LogisticRegression(C=10, **until).fit(some[:, columns], labels[rows])
        return cls(data, columns, model)

    @cached_property
    def accuracy(self) -> float:
        return float((self.model.predict(self.data.unseen[:, self.columns]) == self.data.tested).mean())

    def wrong(self, rows: Places) -> npt.NDArray[np.bool_]:
        """Whether each of these training queries is predicted wrongly."""
        wrong: npt.NDArray[np.bool_] = self.model.predict(self.data.known[rows][:, self.columns]) != self.data.truth[rows]
        return wrong

    def scores(self, rows: Places) -> npt.NDArray[np.float64]:
        scores: npt.NDArray[np.float64] = self.model.predict_proba(self.data.known[rows][:, self.columns])
        return scores

    def margins(self, rows: Places) -> npt.NDArray[np.float64]:
        return margin(self.scores(rows))


@dataclass(frozen=True, slots=True)
class Round:
    """After `labels` labels: the accuracy; and of the picks that follow, how often the model is wrong, by how they were picked
    (None: none were), and of all that waited."""

    labels: int
    accuracy: float
    doubtful_wrong: float | None = None
    drawn_wrong: float | None = None
    all_wrong: float | None = None


@dataclass
class Campaign:
    """Labelling from the start to `most` labels, or until `target` accuracy is reached. `answers` is what reviewers would say
    of each training query; `spread_over` what has to be alike for two of them to be in one
    cluster (None: what the model reads, which a bridge does not have)."""

    data: Data
    picker: Picker
    seed: int
    answers: Codes
    most: int
    target: float = 1.1
    spread_over: SpreadOver | None = SpreadOver.WORDS
    rounds: list[Round] = field(default_factory=list)

    def run(self) -> list[Round]:
        order = first_order(self.data, self.seed)
        labelled, waiting = order[:FIRST], order[FIRST:]
        while True:
            learnt = Learnt.of(self.data, labelled, self.answers)
            if learnt.accuracy >= self.target or len(labelled) + EACH > self.most:
                self.rounds.append(Round(len(labelled), learnt.accuracy))
                return self.rounds
            picked = self._pick(learnt, waiting)
            self.rounds.append(_round(learnt, labelled, waiting, picked))
            places = np.array([*picked.by_doubt, *picked.by_chance], dtype=np.intp)
            labelled, waiting = np.concatenate([labelled, waiting[places]]), np.delete(waiting, places)

    def _pick(self, learnt: Learnt, rows: Places) -> Selection:
        occasion = f"{self.seed}/{len(self.rounds)}"
        drawn = [draw(b"review budget", "exploration", occasion, str(row)) for row in rows]
        rounding = draw(b"review budget", "exploration", occasion, "")
        weighs = self.spread_over is None or self.spread_over.weighs_doubt
        return self.picker(Waiting(learnt.margins(rows).tolist(), drawn, self._features(learnt, rows), weighs), EACH, rounding)

    def _features(self, learnt: Learnt, rows: Places) -> Callable[[Sequence[int]], Any]:
        over = self.spread_over
        if over is None:
            return lambda places: self.data.known[rows[np.asarray(places)]]

        def features(places: Sequence[int]) -> Any:
            some = rows[np.asarray(places)]
            return features_of(over, self.data.texts(some), [dict(enumerated(row)) for row in learnt.scores(some)])

        return features


def enumerated(scores: npt.NDArray[np.float64]) -> Iterator[tuple[str, float]]:
    """Scores by label; labels are named by their numbers."""
    return ((str(number), score) for number, score in enumerate(scores.tolist()))


def _round(learnt: Learnt, labelled: Places, waiting: Places, picked: Selection) -> Round:
    wrong = learnt.wrong(waiting)
    doubtful, drawn = (float(wrong[list(some)].mean()) if some else None for some in (picked.by_doubt, picked.by_chance))
    return Round(len(labelled), learnt.accuracy, doubtful, drawn, float(wrong.mean()))


def first_order(data: Data, seed: int) -> Places:
    """The order in which chance would label: its beginning is what every campaign of the seed starts from."""
    return np.random.default_rng(seed).permutation(len(data.training))


def accuracy_by_chance(data: Data, seed: int, labels: int) -> float:
    return Learnt.of(data, first_order(data, seed)[:labels], data.truth).accuracy


def rising(campaigns: Sequence[Sequence[Round]]) -> list[Round]:
    """The mean of campaigns that had the same rounds, as a curve that never falls (isotonic regression): where a curve that
    jumps first crosses something is too early by its jumps, and this weighs those down as much as those up."""
    labels = [each.labels for each in campaigns[0]]
    means = np.mean([[each.accuracy for each in rounds] for rounds in campaigns], axis=0)
    return [Round(*each) for each in zip(labels, IsotonicRegression().fit_transform(labels, means).tolist(), strict=True)]


def labels_needed(rounds: Sequence[Round], target: float) -> float | None:
    """Where the curve first crosses `target`, between two rounds as on a straight line; None if it never does."""
    for before, after in pairwise(rounds):
        if after.accuracy >= target > before.accuracy:
            share = (target - before.accuracy) / (after.accuracy - before.accuracy)
            return before.labels + share * (after.labels - before.labels)
    return None


def erring_anyhow(data: Data, rate: float, seed: int) -> Codes:
    """Answers of reviewers who take some other intent at random, on any query alike."""
    rng = np.random.default_rng(seed)
    shift = rng.integers(1, data.truth.max() + 1, len(data.truth))
    return np.where(rng.random(len(data.truth)) < rate, (data.truth + shift) % (data.truth.max() + 1), data.truth)


def erring_where_it_is_doubtful(data: Data, rate: float, seed: int) -> Codes:
    """Answers of reviewers who err on what is really alike: they take the intent that is the likeliest but the true one, and
    the more so the less clear the query is to a model that has learnt from all the others. `rate` on the average."""
    scores = _from_all_others(data, seed)
    unclear = 1 - scores[np.arange(len(data.truth)), data.truth]
    scores[np.arange(len(data.truth)), data.truth] = -1
    chance = _scaled(unclear**2, rate)
    return np.where(np.random.default_rng(seed).random(len(data.truth)) < chance, scores.argmax(axis=1), data.truth)


def guessing_what_is_unclear(data: Data, rate: float, seed: int) -> Codes:
    """Answers of reviewers who can't judge the least clear share `rate` of the queries, and take any intent."""
    clear = _from_all_others(data, seed)[np.arange(len(data.truth)), data.truth]
    guessed = np.argsort(clear)[: int(rate * len(clear))]
    answers = data.truth.copy()
    answers[guessed] = np.random.default_rng(seed).integers(0, data.truth.max() + 1, len(guessed))
    return answers


def _from_all_others(data: Data, seed: int) -> npt.NDArray[np.float64]:
    """The scores of each training query by a model that was trained on two thirds of the others, and not on it."""
    scores = np.zeros((len(data.truth), data.truth.max() + 1))
    for known, held_out in StratifiedKFold(3, shuffle=True, random_state=seed).split(data.known, data.truth):
        learnt = Learnt.of(data, known, data.truth)
        scores[held_out] = learnt.model.predict_proba(data.known[held_out][:, learnt.columns])
    return scores


def _scaled(chances: npt.NDArray[np.float64], rate: float) -> npt.NDArray[np.float64]:
    """Times a factor, none above 0.9, so that their mean is `rate`."""
    low, high = 0.0, 1e3
    for _ in range(60):
        factor = (low + high) / 2
        low, high = (factor, high) if np.minimum(0.9, factor * chances).mean() < rate else (low, factor)
    scaled: npt.NDArray[np.float64] = np.minimum(0.9, low * chances)
    return scaled
