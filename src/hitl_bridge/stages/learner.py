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
from hitl_bridge.stages.snapshot import Example
from hitl_bridge.stages.trainers import AnsweringModel, Labelled, Model, Scores, Setup, Trainer, Unlabelled, trainer, with_scores

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
        setup = Setup(root, params.labels, params.train.seed, params.train.base_model, options)
        return cls(trainer(params.train.trainer, remember=True), setup, params.kind)

    def scores(self, learnt_from: Sequence[Example], of: Sequence[Example]) -> Scores:
        """What a model that has learnt from the ones says of the others: shape (n, labels). It is not kept."""
        with self._model(learnt_from) as model:
            return with_scores(model).scores([Unlabelled(each.item_id, each.input) for each in of])

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
    """The scores of each example by a model that has not seen it: shape (n, labels); NaN where no other example has its label,
    about which such a model can say nothing.

    The n-th example of each label is in fold n mod `folds`.
    """
    fold = _folds(examples, folds)
    scores = np.full((len(examples), len(learner.setup.labels)), np.nan)
    told = Progress("Labels looked at again", len(examples))
    for number in range(folds):
        inside, rest = _of(examples, fold == number), _of(examples, fold != number)
        if inside and rest:
            scores[fold == number] = learner.scores(rest, inside)
        told.reached(int((fold <= number).sum()))
    scores[_alone(examples)] = np.nan
    return scores


def _folds(examples: Sequence[Example], folds: int) -> npt.NDArray[np.int64]:
    seen: dict[str, int] = {}
    fold = []
    for example in examples:
        fold.append(seen.get(example.label, 0) % folds)
        seen[example.label] = seen.get(example.label, 0) + 1
    return np.array(fold, dtype=np.int64)


def _of(examples: Sequence[Example], chosen: npt.NDArray[np.bool_]) -> list[Example]:
    return [example for example, here in zip(examples, chosen, strict=True) if here]


def _alone(examples: Sequence[Example]) -> npt.NDArray[np.bool_]:
    times = Counter(example.label for example in examples)
    return np.array([times[example.label] == 1 for example in examples], dtype=bool)
