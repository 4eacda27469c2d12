"""Pictures of known content, and what becomes of a picture on its way through other programs."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def digits(n: int, side: int = 64) -> tuple[list[Image.Image], list[int]]:
    """The first `n` scans of scikit-learn's digits, each another writing, of `side` x `side` points; and what they show."""
    known = load_digits()
    grey = (known.images[:n] * (255 / 16)).astype(np.uint8)
    return [Image.fromarray(scan).resize((side, side), Image.Resampling.BICUBIC) for scan in grey], known.target[:n].tolist()


def uri(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def compressed(picture: Image.Image, quality: int) -> Image.Image:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=quality)
    return Image.open(content)


COPIES: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "compressed": lambda picture: compressed(picture, 75),
    "compressed hard": lambda picture: compressed(picture, 40),
    "darker and flatter": lambda picture: picture.point(lambda grey: grey * 0.8 + 25),
    "brighter": lambda picture: picture.point(lambda grey: grey * 1.2 + 10),
    "half as large": lambda picture: picture.resize((picture.width // 2, picture.height // 2)),
    "twice as large": lambda picture: picture.resize((picture.width * 2, picture.height * 2)),
    "cut at the edges": lambda picture: picture.crop((1, 1, picture.width - 1, picture.height - 1)),
}
"""For pictures of 64 x 64 points and more."""
