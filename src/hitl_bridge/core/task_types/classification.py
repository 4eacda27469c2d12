"""One label an item: text or image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from hitl_bridge.core.model import JSON, NONE_OF_THESE, JSONObject
from hitl_bridge.core.task_types.controls import ANOTHER_LABEL, LABEL, OTHER_LABEL, Form
from hitl_bridge.core.task_types.inputs import missing_input


@dataclass(frozen=True, slots=True)
class _Classification:
    """The one label is the one part of an answer."""

    name: str
    input_field: str
    form: Form = Form.ONE_OF
    several: bool = False
    exclusive: bool = True
    guidance: str = "Choose the label that fits best; “None of these” if no label fits or the item can't be judged."
    keys: str = "1 to 9 choose a label, 0 is “None of these”"

    def input_problem(self, value: JSONObject) -> str | None:
        return missing_input(value, self.input_field)

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

    def brief(self, output: JSONObject) -> str:
        return self.text(output)

    def told(self, output: JSONObject | None, shown: JSONObject) -> str:
        return self.text(output)

    def pair_problem(self, shown: JSONObject, output: JSONObject) -> str | None:
        return None

    def parts(self, output: JSONObject | None) -> frozenset[str]:
        return frozenset() if output is None else frozenset({str(output.get(LABEL))})

    def whole(self, parts: Iterable[str]) -> JSONObject:
        (label,) = parts
        return {LABEL: label}

    def label_of(self, part: str) -> str:
        return part

    def sample_part(self, label: str) -> str:
        return label

    def universe(self, labels: Sequence[str]) -> tuple[str, ...] | None:
        return tuple(labels)

    def clashing(self, parts: Iterable[str]) -> Iterator[tuple[str, str]]:
        return combinations(sorted(set(parts)), 2)

    def answer(self, scores: Mapping[str, float]) -> tuple[JSONObject, float]:
        best = max(scores, key=lambda label: scores[label])
        return {LABEL: best}, scores[best]

    def confidence(self, output: JSONObject, scores: Mapping[str, float]) -> float | None:
        return scores.get(str(output.get(LABEL)))

    def torn_between(self, scores: Mapping[str, float]) -> Mapping[str, float]:
        return scores


@dataclass(frozen=True, slots=True)
class TextClassification(_Classification):
    name: str = "text-classification"
    input_field: str = "text"


@dataclass(frozen=True, slots=True)
class ImageClassification(_Classification):
    """`input.image` is a URL that the reviewer's browser can open, or a `data:image/…;base64,` URI."""

    name: str = "image-classification"
    input_field: str = "image"
