"""Images as the stages read them: a `data:image/…;base64,` URI or a path below the workspace. Nothing is fetched."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

_DATA_URI = "data:image/"
_LARGEST = 50_000_000
"""Pixels; a picture that claims more is refused before it is unpacked."""


class UnreadableImage(ValueError):
    """The image can't be read. The message is the kind of error alone: an address or an image does not belong into a log."""


def grey(image: str, root: Path, size: int) -> npt.NDArray[np.uint8]:
    """The picture scaled to `size` x `size` points of grey, 0 to 255. Raises UnreadableImage."""
    try:
        with Image.open(io.BytesIO(_content(image, root))) as opened:
            if opened.width * opened.height > _LARGEST:
                raise ValueError("it has too many pixels")
            return np.asarray(opened.convert("L").resize((size, size), Image.Resampling.BILINEAR))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage(type(error).__name__) from error


def _content(image: str, root: Path) -> bytes:
    if image.startswith(_DATA_URI):
        return base64.b64decode(image.partition(",")[2], validate=True)
    path = (root / image).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError("the path leads out of the workspace")
    return path.read_bytes()
