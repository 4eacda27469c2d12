"""The floor that always works for entities: a linear model of each token and its neighbours, and a chain over its tags.

Most tokens belong to no entity, so that such a model by itself names too few: what speaks for "no entity" is lowered by the
amount that gives the best F1 on texts that the model has not seen. The confidence is the probability of the whole sequence of
tags (which tells whether a text is right as a whole better than the least sure token does), put right on the same texts by
Platt's two numbers (Platt 1999).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, log_softmax
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from hitl_bridge.core.model import JSON, JSONObject
from hitl_bridge.core.task_types.entities import output_of, spans_of
from hitl_bridge.errors import UsageError
from hitl_bridge.stages.trainers import AnsweringModel, Labelled, Predicted, Setup, TokenScores, Unlabelled
from hitl_bridge.stages.trainers.chains import Decoded, decode, transitions
from hitl_bridge.stages.trainers.estimator import FILE, load, save
from hitl_bridge.stages.trainers.tokens import OUTSIDE, Tags, Tokens, features, spans_in, tags_of

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

_FIELD = "text"
_LEANINGS = (0.0, 0.5, 1.0, 1.5, 2.0)
_FEWEST = 10
_MANY = 2_000
"""From so many tokens on a term must occur twice: rare terms cost time and add nothing."""

_TINY = 1e-9


class SklearnEntities:
    """Options: `C` (inverse strength of regularisation, 10), `max_iter` (60), `calibration_folds` (3)."""

    def train(self, examples: Sequence[Labelled], setup: Setup, folder: Path) -> Mapping[str, JSON]:
        if not examples:
            remedy = "Put labelled rows into data/base/train.jsonl, or commit decisions."
            raise UsageError("There is nothing to train on: the training snapshot is empty.", remedy=remedy)
        corpus = _Corpus.of(examples, setup.labels)
        leaning, slope, shift = _leant_and_calibrated(corpus, setup)
        chain = _fit(corpus, np.arange(len(examples)), setup)
        save(folder / FILE, {"classifier": chain.regression, "follows": chain.follows, "terms": corpus.terms})
        return {"leaning": leaning, "slope": slope, "shift": shift}

    def load(self, folder: Path, setup: Setup, fitted: Mapping[str, JSON]) -> AnsweringModel:
        content: Any = load(folder / FILE)
        numbers = {name: fitted.get(name) for name in ("leaning", "slope", "shift")}
        leaning, slope, shift = (float(each) if isinstance(each, int | float) else 0.0 for each in numbers.values())
        chain = _Chain(content["classifier"], content["follows"])
        return _EntityModel(chain, content["terms"], leaning, (slope, shift), setup.labels)


@dataclass(frozen=True, slots=True)
class _Chain:
    """What is thought of a token alone, and what of a tag by the one before."""

    regression: Any
    follows: Floats


@dataclass(frozen=True, slots=True)
class _EntityModel:
    chain: _Chain
    terms: Places
    leaning: float
    calibration: tuple[float, float]
    labels: tuple[str, ...]

    def answers(self, items: Sequence[Unlabelled]) -> list[Predicted]:
        texts = [Tokens.of(str(item.input[_FIELD])) for item in items]
        found = _decoded(self.chain, texts, self.leaning, features(texts)[:, self.terms])
        chances = _calibrated(found.probability, *self.calibration)
        return [Predicted(output, float(chance)) for output, chance in zip(self._outputs(texts, found), chances, strict=True)]

    def token_scores(self, items: Sequence[Unlabelled]) -> list[TokenScores]:
        """Of each token by itself, whatever stands before it."""
        texts = [Tokens.of(str(item.input[_FIELD])) for item in items]
        matrix = features(texts)[:, self.terms]
        outputs = self._outputs(texts, _decoded(self.chain, texts, self.leaning, matrix))
        tags = np.exp(_token_chances(self.chain, 0.0, matrix))
        labels = np.column_stack([tags[:, OUTSIDE], tags[:, 1::2] + tags[:, 2::2]])
        each = np.split(labels, np.cumsum([len(text) for text in texts])[:-1]) if texts else []
        return [TokenScores(output, scores) for output, scores in zip(outputs, each, strict=True)]

    def _outputs(self, texts: Sequence[Tokens], found: Decoded) -> list[JSONObject]:
        return [output_of(spans_in(text, tags, self.labels)) for text, tags in zip(texts, found.tags, strict=True)]


@dataclass(frozen=True, slots=True)
class _Corpus:
    """Texts with their tags, and one matrix over the tokens of all: those of text i are rows `at[i]` up to `at[i + 1]`. `terms`
    are its columns among those of `features`, `count` is the number of tags."""

    texts: list[Tokens]
    tags: list[Tags]
    matrix: Any
    terms: Places
    at: Places
    count: int

    @classmethod
    def of(cls, examples: Sequence[Labelled], labels: Sequence[str]) -> _Corpus:
        texts = [Tokens.of(str(example.input[_FIELD])) for example in examples]
        pairs = zip(texts, examples, strict=True)
        tags = [tags_of(text, spans_of(example.output), labels) for text, example in pairs]
        at = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
        matrix = features(texts)
        terms = np.flatnonzero(matrix.getnnz(axis=0) >= (2 if matrix.shape[0] >= _MANY else 1)).astype(np.int64)
        return cls(texts, tags, matrix[:, terms], terms, at, 2 * len(labels) + 1)

    def rows(self, places: Places) -> Places:
        ranges = [np.arange(self.at[place], self.at[place + 1]) for place in places]
        return np.concatenate(ranges) if ranges else np.zeros(0, dtype=np.int64)


def _fit(corpus: _Corpus, places: Places, setup: Setup) -> _Chain:
    tagged = [corpus.tags[place] for place in places]
    codes, follows = np.concatenate(tagged), transitions(tagged, corpus.count)
    if len(np.unique(codes)) < 2:
        known = codes[:1] if len(codes) else np.array([OUTSIDE])
        return _Chain(DummyClassifier(strategy="prior").fit(np.zeros((1, 1)), known), follows)
    regression = LogisticRegression(C=setup.number("C", 10.0), max_iter=int(setup.number("max_iter", 60)))
    with warnings.catch_warnings():
        # Stopped early it is no worse: what is gained after that is gained on the training texts.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return _Chain(regression.fit(corpus.matrix[corpus.rows(places)], codes), follows)


def _decoded(chain: _Chain, texts: Sequence[Tokens], leaning: float, matrix: Any) -> Decoded:
    ends = np.cumsum([len(text) for text in texts])
    chances = _token_chances(chain, leaning, matrix)
    return decode(np.split(chances, ends[:-1]) if len(texts) else [], chain.follows)


def _token_chances(chain: _Chain, leaning: float, matrix: Any) -> Floats:
    """What is thought of each token: log-probabilities of all tags; of one never seen, next to nothing."""
    whole = np.full((matrix.shape[0], chain.follows.shape[1]), np.log(_TINY))
    if matrix.shape[0]:
        logits = _logits(chain.regression, matrix)
        logits[:, chain.regression.classes_ == OUTSIDE] -= leaning
        whole[:, chain.regression.classes_] = np.maximum(log_softmax(logits, axis=1), np.log(_TINY))
    return whole


def _logits(regression: Any, matrix: Any) -> Floats:
    if not hasattr(regression, "decision_function"):
        return np.zeros((matrix.shape[0], len(regression.classes_)))
    raw = np.asarray(regression.decision_function(matrix), dtype=np.float64)
    return raw if raw.ndim == 2 else np.column_stack([np.zeros_like(raw), raw])


# ---------------------------------------------------------------------------------------------- on texts not seen before


@dataclass(frozen=True, slots=True)
class _Unseen:
    """A model, and texts that it has not seen."""

    chain: _Chain
    places: Places


def _leant_and_calibrated(corpus: _Corpus, setup: Setup) -> tuple[float, float, float]:
    """How far to lean away from "no entity", and Platt's slope and shift; no leaning and none of these with too few texts."""
    folds = int(setup.number("calibration_folds", 3))
    fold = np.arange(len(corpus.texts)) % folds
    if folds < 2 or len(corpus.texts) < max(_FEWEST, folds):
        return 0.0, 1.0, 0.0
    unseen = []
    for number in range(folds):
        inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        unseen.append(_Unseen(_fit(corpus, outside, setup), inside))
    tried = {leaning: [_against_truth(each, corpus, leaning) for each in unseen] for leaning in _LEANINGS}
    leaning = max(_LEANINGS, key=lambda each: (_f1([result[0] for result in tried[each]]), -each))
    chances = np.concatenate([result[1] for result in tried[leaning]])
    right = np.concatenate([result[2] for result in tried[leaning]])
    return leaning, *_platt(chances, right)


def _against_truth(unseen: _Unseen, corpus: _Corpus, leaning: float) -> tuple[tuple[int, int], Floats, npt.NDArray[np.bool_]]:
    """(hits, entities there and named), the probability of each text's tags, and whether all of them are right."""
    texts = [corpus.texts[place] for place in unseen.places]
    matrix = corpus.matrix[corpus.rows(unseen.places)]
    found = _decoded(unseen.chain, texts, leaning, matrix)
    labels = [str(number) for number in range(corpus.count // 2)]
    hits, both, right = 0, 0, []
    for place, text, tags in zip(unseen.places, texts, found.tags, strict=True):
        said, true = set(spans_in(text, tags, labels)), set(spans_in(text, corpus.tags[place], labels))
        hits, both = hits + len(said & true), both + len(said) + len(true)
        right.append(said == true)
    return (hits, both), found.probability, np.array(right, dtype=bool)


def _f1(counts: Sequence[tuple[int, int]]) -> float:
    both = sum(each for _, each in counts)
    return 2 * sum(hits for hits, _ in counts) / both if both else 0.0


def _platt(chances: Floats, right: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and shift of least log loss, with Platt's smoothed targets; the slope never turns the order round."""
    wrong, good = int((~right).sum()), int(right.sum())
    targets = np.where(right, (good + 1) / (good + 2), 1 / (wrong + 2))
    logits = _logit(chances)

    def loss(numbers: Floats) -> float:
        signed = np.exp(numbers[0]) * logits + numbers[1]
        return float(np.mean(targets * np.logaddexp(0, -signed) + (1 - targets) * np.logaddexp(0, signed)))

    found = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-8})
    return round(float(np.exp(found.x[0])), 4), round(float(found.x[1]), 4)


def _logit(chances: Floats) -> Floats:
    kept = np.clip(chances, _TINY, 1 - _TINY)
    return np.asarray(np.log(kept) - np.log1p(-kept))


def _calibrated(chances: Floats, slope: float, shift: float) -> Floats:
    return np.asarray(expit(slope * _logit(chances) + shift))
