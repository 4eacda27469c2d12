"""What a trainer is, and which there are. A trainer turns labelled examples into a folder, and such a folder into scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hitl_bridge.core.model import JSON, JSONObject
from hitl_bridge.errors import UsageError

TRAINERS: tuple[str, ...] = ("sklearn-text", "sklearn-image", "sentence-embeddings", "transformers", "command")

Scores = npt.NDArray[np.float64]
"""One row an item, one column a label, in [0, 1]; a row sums to 1 unless a command's own scores do not."""


@dataclass(frozen=True, slots=True)
class Labelled:
    item_id: str
    input: JSONObject
    label: str


@dataclass(frozen=True, slots=True)
class Unlabelled:
    item_id: str
    input: JSONObject


@dataclass(frozen=True, slots=True)
class Setup:
    """What a trainer needs besides examples. `root` is the workspace, against which relative paths are read."""

    root: Path
    labels: tuple[str, ...]
    seed: int = 0
    base_model: str | None = None
    options: Mapping[str, JSON] | None = None

    def option(self, name: str, default: JSON) -> JSON:
        return (self.options or {}).get(name, default)

    def number(self, name: str, default: float) -> float:
        """A numeric option. Raises UsageError if it is something else."""
        value = self.option(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise UsageError(f"train.options.{name} must be a number above 0.", remedy="Mend params.yaml.")
        return float(value)


class Model(Protocol):
    def scores(self, items: Sequence[Unlabelled]) -> Scores:
        """The scores of each item, in their order."""


class Trainer(Protocol):
    def train(self, examples: Sequence[Labelled], setup: Setup, folder: Path) -> Mapping[str, JSON]:
        """Writes the model's files into the empty `folder`; returns what `load` has to know besides them."""

    def load(self, folder: Path, setup: Setup, fitted: Mapping[str, JSON]) -> Model:
        """Opens what `train` wrote; must not run code from the files."""


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
