"""The candidate's own training, done again on parts of the data: what folds and learning curves are made of."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hitl_bridge.core.model import JSON
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.stages.judging import Judged, judge
from hitl_bridge.stages.params import StageParams
from hitl_bridge.stages.progress import Progress
from hitl_bridge.stages.snapshot import Example, labels_of
from hitl_bridge.stages.trainers import (
    AnsweringModel,
    Labelled,
    Model,
    Scores,
    Setup,
    TokenModel,
    TokenScores,
    Trainer,
    Unlabelled,
    trainer,
    with_scores,
)

Places = npt.NDArray[np.int64]

_NO_TEMPERATURE: dict[str, JSON] = {"calibration_folds": 1}
"""What is looked at here is which label is best: the folds that fit a temperature would cost five times the rest."""


@dataclass(frozen=True, slots=True)
class Learner:
    """`params.yaml`'s trainer with its options and seed."""

    trainer: Trainer
    setup: Setup
    kind: TaskType

    @classmethod
    def of(cls, root: Path, params: StageParams) -> Learner:
        options = {**params.train.options, **_NO_TEMPERATURE}
        setup = Setup(root, params.labels, params.train.seed, params.train.base_model, options, params.kind)
        return cls(trainer(params.train.trainer, remember=True), setup, params.kind)

    def scores(self, learnt_from: Sequence[Example], of: Sequence[Example]) -> Scores:
        """What a model that has learnt from the ones says of the others: shape (n, labels). It is not kept."""
        with self._model(learnt_from) as model:
            return with_scores(model).scores([Unlabelled(each.item_id, each.input) for each in of])

    def token_scores(self, learnt_from: Sequence[Example], of: Sequence[Example]) -> list[TokenScores]:
        """As `scores`, token by token; of a trainer that `tells_of_tokens`."""
        with self._model(learnt_from) as model:
            assert isinstance(model, TokenModel)  # noqa: S101
            return model.token_scores([Unlabelled(each.item_id, each.input) for each in of])

    def judged(self, learnt_from: Sequence[Example], of: Sequence[Example]) -> Judged:
        """How a model that has learnt from the ones does on the others. It is not kept."""
        with self._model(learnt_from) as model:
            return judge(model, of, self.kind, self.setup.labels)

    @contextmanager
    def _model(self, learnt_from: Sequence[Example]) -> Iterator[Model | AnsweringModel]:
        labelled = [Labelled(each.item_id, each.input, each.label, each.output) for each in learnt_from]
        with tempfile.TemporaryDirectory(prefix="hitl-learn-") as scratch:
            fitted = self.trainer.train(labelled, self.setup, Path(scratch))
            yield self.trainer.load(Path(scratch), self.setup, fitted)


def out_of_fold(learner: Learner, examples: Sequence[Example], folds: int) -> Scores:
    """The scores of each example by a model that has not seen it: shape (n, labels); NaN where no example that it has seen has
    the label, about which such a model can say nothing: of one label an item for all labels, else for that label."""
    scores = np.full((len(examples), len(learner.setup.labels)), np.nan)
    for inside, rest in _folded(examples, folds, learner.kind):
        unseen = _unseen(learner, _at(examples, rest))
        scores[inside] = learner.scores(_at(examples, rest), _at(examples, inside))
        if learner.kind.several:
            scores[np.ix_(inside, unseen)] = np.nan
        else:
            given = np.array([learner.setup.labels.index(examples[place].label) for place in inside])
            scores[inside[np.isin(given, unseen)]] = np.nan
    return scores


def tokens_out_of_fold(learner: Learner, examples: Sequence[Example], folds: int) -> list[TokenScores]:
    """The same of each token of each example, for a trainer that `tells_of_tokens`."""
    found: dict[int, TokenScores] = {}
    for inside, rest in _folded(examples, folds, learner.kind):
        unseen = _unseen(learner, _at(examples, rest))
        for place, said in zip(inside.tolist(), learner.token_scores(_at(examples, rest), _at(examples, inside)), strict=True):
            said.scores[:, unseen + 1] = np.nan
            found[place] = said
    return [found[place] for place in range(len(examples))]


def _folded(examples: Sequence[Example], folds: int, kind: TaskType) -> Iterator[tuple[Places, Places]]:
    """Of each fold the places inside, and those of the rest; told as progress."""
    fold = np.arange(len(examples)) % folds if kind.several else _fold_by_label(examples, folds)
    told = Progress("Labels looked at again", len(examples))
    for number in range(folds):
        inside, rest = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        if len(inside) and len(rest):
            yield inside, rest
        told.reached(int((fold <= number).sum()))


def _fold_by_label(examples: Sequence[Example], folds: int) -> Places:
    """The n-th example of each label is in fold n mod `folds`."""
    seen: Counter[str] = Counter()
    fold = []
    for example in examples:
        fold.append(seen[example.label] % folds)
        seen[example.label] += 1
    return np.array(fold, dtype=np.int64)


def _at(examples: Sequence[Example], places: Places) -> list[Example]:
    return [examples[place] for place in places]


def _unseen(learner: Learner, learnt_from: Sequence[Example]) -> Places:
    """The columns of the labels that none of these has."""
    seen = {label for example in learnt_from for label in labels_of(example, learner.kind)}
    return np.array([place for place, label in enumerate(learner.setup.labels) if label not in seen], dtype=np.int64)
