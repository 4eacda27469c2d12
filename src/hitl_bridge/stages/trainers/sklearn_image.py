"""A small trainer for images: grey pixels of one size, a support vector machine, a temperature. For icons, digits, scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from hitl_bridge.core.model import JSON
from hitl_bridge.errors import UsageError
from hitl_bridge.stages.images import UnreadableImage, grey
from hitl_bridge.stages.trainers import Labelled, Model, Scores, Setup, Unlabelled
from hitl_bridge.stages.trainers.estimator import FILE, Fitted, codes_of, fit_calibrated, load, save, scores_of, temperature_of

_FIELD = "image"


class SklearnImage:
    """Options: `size` (pixels a side, 16), `C` (10), `calibration_folds` (5).

    `input.image` is what `stages.images` reads.
    """

    def train(self, examples: Sequence[Labelled], setup: Setup, folder: Path) -> Mapping[str, JSON]:
        codes = codes_of(examples, setup.labels)
        size = int(setup.number("size", 16))
        pixels = _pixels([Unlabelled(example.item_id, example.input) for example in examples], setup.root, size)

        def make() -> Any:
            machine = SVC(C=setup.number("C", 10.0), decision_function_shape="ovr", random_state=setup.seed)
            return make_pipeline(StandardScaler(), machine)

        fitted = fit_calibrated(make, pixels, codes, setup)
        save(folder / FILE, {"classifier": fitted.estimator})
        return {"temperature": fitted.temperature, "size": size}

    def load(self, folder: Path, setup: Setup, fitted: Mapping[str, JSON]) -> Model:
        content: Any = load(folder / FILE)
        size = fitted.get("size")
        whole = size if isinstance(size, int) else 16
        return _ImageModel(Fitted(content["classifier"], temperature_of(fitted)), setup.labels, setup.root, whole)


@dataclass(frozen=True, slots=True)
class _ImageModel:
    fitted: Fitted
    labels: tuple[str, ...]
    root: Path
    size: int

    def scores(self, items: Sequence[Unlabelled]) -> Scores:
        if not items:
            return np.zeros((0, len(self.labels)))
        return scores_of(self.fitted, _pixels(items, self.root, self.size), self.labels)


def _pixels(items: Sequence[Unlabelled], root: Path, size: int) -> npt.NDArray[np.float32]:
    """One row an image, size x size grey values in [0, 1]."""
    return np.stack([_grey(item, root, size) for item in items])


def _grey(item: Unlabelled, root: Path, size: int) -> npt.NDArray[np.float32]:
    try:
        small = grey(str(item.input[_FIELD]), root, size)
    except UnreadableImage as error:
        remedy = "Use a data:image/…;base64, URI or a path below the workspace, of a format that Pillow reads."
        raise UsageError(f"The image of item {item.item_id!r} can't be read ({error}).", remedy=remedy) from error
    return small.astype(np.float32).ravel() / 255.0
