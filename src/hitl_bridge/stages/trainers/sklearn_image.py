"""A small trainer for images: grey pixels of one size, a support vector machine, a temperature. For icons, digits, scans."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from hitl_bridge.core.model import JSON
from hitl_bridge.errors import UsageError
from hitl_bridge.stages.trainers import Labelled, Model, Scores, Setup, Unlabelled
from hitl_bridge.stages.trainers.estimator import FILE, Fitted, codes_of, fit_calibrated, load, save, scores_of, temperature_of

_FIELD = "image"
_DATA_URI = "data:image/"
_LARGEST = 50_000_000
"""Pixels; a picture that claims more is refused before it is unpacked."""


class SklearnImage:
    """Options: `size` (pixels a side, 16), `C` (10), `calibration_folds` (5).

    `input.image` is a `data:image/…;base64,` URI or a path below the workspace; nothing is fetched from the network.
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
        with Image.open(io.BytesIO(_content(str(item.input[_FIELD]), root))) as image:
            if image.width * image.height > _LARGEST:
                raise ValueError("it has too many pixels")
            small = image.convert("L").resize((size, size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, binascii.Error, UnidentifiedImageError, Image.DecompressionBombError) as error:
        remedy = "Use a data:image/…;base64, URI or a path below the workspace, of a format that Pillow reads."
        raise UsageError(f"The image of item {item.item_id!r} can't be read ({type(error).__name__}).", remedy=remedy) from error
    return np.asarray(small, dtype=np.float32).ravel() / 255.0


def _content(image: str, root: Path) -> bytes:
    if image.startswith(_DATA_URI):
        return base64.b64decode(image.partition(",")[2], validate=True)
    path = (root / image).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError("the path leads out of the workspace")
    return path.read_bytes()
