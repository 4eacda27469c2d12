"""What a bridge must know of a kind of task, one file a type.

A task type speaks *controls*: the named fields of the review page with their values, as the labeling service's adapter
fills them in and reads them back. `LABEL`, `RATIONALE`, `CHECKLIST` and `CONFIDENCE` are the names that every label
config uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias

from hitl_bridge.core.model import JSON, JSONObject
from hitl_bridge.core.task_types.classification import ImageClassification, TextClassification
from hitl_bridge.core.task_types.controls import Form
from hitl_bridge.core.task_types.entities import TextEntities
from hitl_bridge.core.task_types.multi_label import MultiLabelText
from hitl_bridge.errors import UnknownName

Controls: TypeAlias = Mapping[str, Sequence[JSON]]


class TaskType(Protocol):
    """One kind of task. Every method is pure."""

    @property
    def name(self) -> str:
        """As in `hitl.yaml`: `task: text-classification`."""

    @property
    def input_field(self) -> str:
        """The key of a prediction's `input` that is shown to reviewers: `text`, `image`."""

    @property
    def form(self) -> Form:
        """What the control `LABEL` of its pages lets people do."""

    @property
    def several(self) -> bool:
        """Whether an answer is made of parts (labels, entities) that people agree upon one by one: as many as fit, none too."""

    @property
    def exclusive(self) -> bool:
        """Whether the scores of an item's labels exclude each other, and sum to 1."""

    @property
    def guidance(self) -> str:
        """What a reviewer is to do, in a sentence."""

    @property
    def keys(self) -> str:
        """What the keys of its pages do, but for those that all pages have."""

    def input_problem(self, value: JSONObject) -> str | None:
        """What is wrong with an item's input, or None."""

    def output_problem(self, output: JSONObject, labels: Sequence[str]) -> str | None:
        """What is wrong with a model's output, or None."""

    def prefill(self, output: JSONObject) -> Controls:
        """The predicted answer as the page's controls."""

    def read(self, controls: Controls, labels: Sequence[str]) -> JSONObject | None:
        """The output that a filled-in page means; None if it rejects the item. Raises ValueError if it means nothing."""

    def same(self, one: JSONObject | None, other: JSONObject | None) -> bool:
        """Whether two outputs say the same, by value."""

    def text(self, output: JSONObject | None) -> str:
        """An output in a few words, for people: equal where outputs say the same, and nothing of the input in it."""

    def brief(self, output: JSONObject) -> str:
        """The same as reviewers read it in a sentence: without places, which mean nothing to people."""

    def told(self, output: JSONObject | None, shown: JSONObject) -> str:
        """The same for those who have the input `shown` before their eyes: its words may be in it."""

    def pair_problem(self, shown: JSONObject, output: JSONObject) -> str | None:
        """What is wrong with an output for just this input, both good by themselves; or None."""

    def parts(self, output: JSONObject | None) -> frozenset[str]:
        """What an output says, part by part, each as a canonical text; none of None."""

    def whole(self, parts: Iterable[str]) -> JSONObject:
        """The output of exactly these parts, in its canonical form."""

    def label_of(self, part: str) -> str:
        """The label of a part."""

    def sample_part(self, label: str) -> str:
        """Some part with that label, to show what an answer looks like."""

    def universe(self, labels: Sequence[str]) -> tuple[str, ...] | None:
        """Every part that an answer can have; None where there is no end of them."""

    def clashing(self, parts: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Every two of these that hardly hold together, so that whoever named the one speaks against the other."""

    def answer(self, scores: Mapping[str, float]) -> tuple[JSONObject, float]:
        """What the scores of an item's labels say, and how probable it is that all of it is right. Raises UsageError for a type
        whose models have to answer themselves."""

    def confidence(self, output: JSONObject, scores: Mapping[str, float]) -> float | None:
        """How sure a prediction is that brings no confidence of its own; None if that can't be told."""

    def torn_between(self, scores: Mapping[str, float]) -> Mapping[str, float]:
        """Scores that exclude each other, of which margin and entropy are made: those of the labels, or of the two sides of the
        one that is most in doubt; none where scores say nothing of the kind."""


_ALL: tuple[TaskType, ...] = (TextClassification(), ImageClassification(), TextEntities(), MultiLabelText())
_TASK_TYPES: dict[str, TaskType] = {kind.name: kind for kind in _ALL}
TASK_TYPE_NAMES: tuple[str, ...] = tuple(_TASK_TYPES)


def task_type(name: str) -> TaskType:
    """The task type of that name. Raises UnknownName."""
    try:
        return _TASK_TYPES[name]
    except KeyError:
        raise UnknownName("task type", name, remedy=f"Use one of: {', '.join(TASK_TYPE_NAMES)}.") from None
