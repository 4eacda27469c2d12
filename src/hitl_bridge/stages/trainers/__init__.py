"""What a trainer is, and which there are. A trainer turns labelled examples into a folder, and such a folder into scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hitl_bridge.core.model import JSON, JSONObject
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.core.task_types.classification import TextClassification
from hitl_bridge.errors import UsageError

MADE_FOR: Mapping[str, str | None] = {
    "sklearn-text": "text-classification",
    "sklearn-image": "image-classification",
    "sklearn-multi-label": "multi-label-text",
    "sklearn-entities": "entities",
    "sentence-embeddings": "text-classification",
    "transformers": "text-classification",
    "command": None,
}
"""Each trainer with the one task type that it can learn; None: any."""

TRAINERS: tuple[str, ...] = tuple(MADE_FOR)

Scores = npt.NDArray[np.float64]
"""One row an item, one column a label, in [0, 1]; a row sums to 1 unless several labels can fit, or a command's own do not."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """`output` is the true answer, `label` the same in words: where an item has one label, that label."""

    item_id: str
    input: JSONObject
    label: str
    output: JSONObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unlabelled:
    item_id: str
    input: JSONObject


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a model says of an item, with the probability that all of it is right. `scores` by label may be empty."""

    output: JSONObject
    confidence: float
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a trainer needs besides examples. `root` is the workspace, against which relative paths are read, `kind` its task
    type."""

    root: Path
    labels: tuple[str, ...]
    seed: int = 0
    base_model: str | None = None
    options: Mapping[str, JSON] | None = None
    kind: TaskType = field(default_factory=TextClassification)

    def option(self, name: str, default: JSON) -> JSON:
        return (self.options or {}).get(name, default)

    def number(self, name: str, default: float) -> float:
        """A numeric option. Raises UsageError if it is something else."""
        value = self.option(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise UsageError(f"train.options.{name} must be a number above 0.", remedy="Mend params.yaml.")
        return float(value)


@runtime_checkable
class Model(Protocol):
    def scores(self, items: Sequence[Unlabelled]) -> Scores:
        """The scores of each item, in their order."""


@runtime_checkable
class AnsweringModel(Protocol):
    """A model whose answers are more than scores of labels. It has no use for `scores`."""

    def answers(self, items: Sequence[Unlabelled]) -> list[Predicted]:
        """What it says of each item, in their order."""


@dataclass(frozen=True, slots=True)
class TokenScores:
    """What a model says of an item, and what it thinks of each token of the text (`trainers.tokens`): `scores` of shape (tokens,
    labels + 1), column 0 that it belongs to nothing, column n + 1 to label number n. A row sums to 1."""

    output: JSONObject
    scores: Scores


@runtime_checkable
class TokenModel(AnsweringModel, Protocol):
    """A model that marks pieces of texts, and can say how sure it is of each token."""

    def token_scores(self, items: Sequence[Unlabelled]) -> list[TokenScores]:
        """Of each item, in their order."""


def tells_of_tokens(name: str) -> bool:
    """Whether the trainer of that name makes a `TokenModel`: of a command's entities no more is known than the answer."""
    return MADE_FOR[name] == "entities"


def with_scores(model: Model | AnsweringModel) -> Model:
    """The model, if it gives scores of labels. Raises UsageError if it answers itself."""
    if isinstance(model, AnsweringModel):
        raise UsageError("This model gives answers, not scores of labels.", remedy="Choose another trainer in params.yaml.")
    return model


class Trainer(Protocol):
    def train(self, examples: Sequence[Labelled], setup: Setup, folder: Path) -> Mapping[str, JSON]:
        """Writes the model's files into the empty `folder`; returns what `load` has to know besides them."""

    def load(self, folder: Path, setup: Setup, fitted: Mapping[str, JSON]) -> Model | AnsweringModel:
        """Opens what `train` wrote; must not run code from the files."""


def refuse_nothing(examples: Sequence[Labelled]) -> None:
    """Raises UsageError if there is no example at all."""
    if not examples:
        remedy = "Put labelled rows into data/base/train.jsonl, or commit decisions."
        raise UsageError("There is nothing to train on: the training snapshot is empty.", remedy=remedy)


def trainer(name: str, *, remember: bool = False) -> Trainer:
    """The trainer of that name. Its libraries are imported here and not before.

    With `remember` it may keep what it computed of an example: the same ones are to be trained on several times.
    """
    if name == "sklearn-text":
        from hitl_bridge.stages.trainers.sklearn_text import SklearnText

        return SklearnText()
    if name == "sklearn-image":
        from hitl_bridge.stages.trainers.sklearn_image import SklearnImage

        return SklearnImage()
    if name == "sklearn-multi-label":
        from hitl_bridge.stages.trainers.sklearn_multi_label import SklearnMultiLabel

        return SklearnMultiLabel()
    if name == "sklearn-entities":
        from hitl_bridge.stages.trainers.sklearn_entities import SklearnEntities

        return SklearnEntities()
    if name == "sentence-embeddings":
        from hitl_bridge.stages.trainers.sentence_embeddings import SentenceEmbeddings

        return SentenceEmbeddings(remember=remember)
    if name == "transformers":
        from hitl_bridge.stages.trainers.transformer import Transformer

        return Transformer()
    if name == "command":
        from hitl_bridge.stages.trainers.command import Command

        return Command()
    raise UsageError(f"There is no trainer {name!r}.", remedy=f"Set train.trainer to one of: {', '.join(TRAINERS)}.")
