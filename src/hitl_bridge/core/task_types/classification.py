"""One label an item: text or image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hitl_bridge.core.model import JSON, NONE_OF_THESE, JSONObject
from hitl_bridge.core.task_types.controls import ANOTHER_LABEL, LABEL, OTHER_LABEL


@dataclass(frozen=True, slots=True)
class _Classification:
    name: str
    input_field: str

    def input_problem(self, value: JSONObject) -> str | None:
        shown = value.get(self.input_field)
        if not isinstance(shown, str) or not shown.strip():
            return f"input.{self.input_field} must be a text that is not empty"
        return None

    def output_problem(self, output: JSONObject, labels: Sequence[str]) -> str | None:
        label = output.get(LABEL)
        if not isinstance(label, str):
            return "prediction.label must be a text"
        if label not in labels:
            return f"unknown label {label!r}"
        return None

    def prefill(self, output: JSONObject) -> Mapping[str, Sequence[JSON]]:
        return {LABEL: (output[LABEL],)}

    def read(self, controls: Mapping[str, Sequence[JSON]], labels: Sequence[str]) -> JSONObject | None:
        chosen = controls.get(LABEL, ())
        if tuple(chosen) == (ANOTHER_LABEL,):
            chosen = controls.get(OTHER_LABEL, ())
        if len(chosen) != 1:
            raise ValueError(f"{len(chosen)} labels chosen where one is due")
        if chosen[0] == NONE_OF_THESE:
            return None
        if chosen[0] not in labels:
            raise ValueError(f"label {chosen[0]!r} is not one of this workspace's labels")
        return {LABEL: chosen[0]}

    def same(self, one: JSONObject | None, other: JSONObject | None) -> bool:
        if one is None or other is None:
            return one is other
        return one.get(LABEL) == other.get(LABEL)

    def text(self, output: JSONObject | None) -> str:
        return NONE_OF_THESE if output is None else str(output.get(LABEL))


@dataclass(frozen=True, slots=True)
class TextClassification(_Classification):
    name: str = "text-classification"
    input_field: str = "text"


@dataclass(frozen=True, slots=True)
class ImageClassification(_Classification):
    """`input.image` is a URL that the reviewer's browser can open, or a `data:image/…;base64,` URI."""

    name: str = "image-classification"
    input_field: str = "image"
