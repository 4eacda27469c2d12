"""What a bridge must know of a kind of task, one file a type.

A task type speaks *controls*: the named fields of the review page with their values, as the labeling service's adapter
fills them in and reads them back. `LABEL`, `RATIONALE`, `CHECKLIST` and `CONFIDENCE` are the names that every label
config uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

from hitl_bridge.core.model import JSON, JSONObject
from hitl_bridge.core.task_types.classification import ImageClassification, TextClassification
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
        """An output in a few words, for people."""


_TASK_TYPES: dict[str, TaskType] = {kind.name: kind for kind in (TextClassification(), ImageClassification())}
TASK_TYPE_NAMES: tuple[str, ...] = tuple(_TASK_TYPES)


def task_type(name: str) -> TaskType:
    """The task type of that name. Raises UnknownName."""
    try:
        return _TASK_TYPES[name]
    except KeyError:
        raise UnknownName("task type", name, remedy=f"Use one of: {', '.join(TASK_TYPE_NAMES)}.") from None
