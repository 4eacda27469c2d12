"""What the demo is about: a support inbox, or handwritten digits."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from hitl_bridge.core.model import JSON
from hitl_bridge.demo.inbox import UNSEEN, read_inbox

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Row = Mapping[str, JSON]

_SCANS = 1150

_SHOWN_PIXELS = 192
"""The scans are 8 × 8 pixels; nobody can read that, so they are shown this large."""


@dataclass(frozen=True, slots=True)
class Day:
    """A day's arrivals: a title, what is told beforehand, and the inputs."""

    title: str
    story: str
    inputs: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Subject:
    """All that one demo needs. `meanings` gives an item's true label by what the page shows of it."""

    name: str
    policy: str
    shown_field: str
    train: Sequence[Row]
    holdout: Sequence[Row]
    days: Sequence[Day]
    meanings: Mapping[str, str]


def support_inbox() -> Subject:
    inbox = read_inbox()
    return Subject(
        name="a support inbox",
        policy=_policy("support-inbox"),
        shown_field="text",
        train=[message.as_example() for message in inbox.train],
        holdout=[message.as_example() for message in inbox.holdout],
        days=[
            Day("Day 1", "An ordinary day at the lamp shop.", [each.as_input() for each in inbox.first_day]),
            Day(
                "Day 2",
                f"Something new arrives: “{UNSEEN}”. The model has never seen one and takes many for ordinary payment cases.",
                [each.as_input() for each in inbox.second_day],
            ),
        ],
        meanings=inbox.meanings(),
    )


def handwritten_digits() -> Subject:
    """scikit-learn's 1,797 scans of digits written by 43 people (Alpaydin and Kaynak, 1998)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    shown = [_data_uri(image) for image in digits.images[:_SCANS]]
    labels = [str(label) for label in digits.target[:_SCANS]]
    rows: list[Row] = [
        {"item_id": f"digit-{place:04}", "input": {"image": uri}, "output": {"label": label}}
        for place, (uri, label) in enumerate(zip(shown, labels, strict=True))
    ]
    inputs: list[Row] = [{"item_id": row["item_id"], "input": row["input"]} for row in rows]
    return Subject(
        name="handwritten digits",
        policy=_policy("digits"),
        shown_field="image",
        train=rows[:250],
        holdout=rows[250:750],
        days=[
            Day("Day 1", "Scans from writers whom the model knows a little.", inputs[750:950]),
            Day("Day 2", "Scans from other writers.", inputs[950:1150]),
        ],
        meanings=dict(zip(shown, labels, strict=True)),
    )


def _policy(name: str) -> str:
    return (files("hitl_bridge.demo") / f"{name}.yaml").read_text(encoding="utf-8")


def _data_uri(image: npt.NDArray[np.float64]) -> str:
    """An 8 × 8 scan (values 0 to 16, ink is high) as a picture, dark ink on white, large enough to read."""
    import numpy as np
    from PIL import Image

    pixels = (255 - image * (255 / 16)).astype(np.uint8)
    picture = Image.fromarray(pixels).resize((_SHOWN_PIXELS, _SHOWN_PIXELS), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")
