"""Several labels an item, or none: text.

Each label is a question of its own, yes or no, and its score the probability of a yes: scores do not sum to 1. A label is in
the answer from a score of one half on, which errs least often where one kind of error is as bad as the other. The answer is
right as a whole or wrong, so its confidence is the probability that every label is right: the product over all labels, as if
they were independent. Calibrations go by that confidence alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from hitl_bridge.core.model import JSON, NONE_OF_THESE, JSONObject
from hitl_bridge.core.task_types.controls import CANT_ANSWER, LABEL, OTHER_LABEL, REJECT, Form
from hitl_bridge.core.task_types.inputs import missing_input

LABELS = "labels"
"""The key of an output: `{"labels": ["billing", "refund"]}`, each once; of those that fit nowhere, an empty list."""

IN_FROM = 0.5
"""A label whose score is at least this is in the answer."""

NO_LABEL = "no label"


@dataclass(frozen=True, slots=True)
class MultiLabelText:
    name: str = "multi-label-text"
    input_field: str = "text"
    form: Form = Form.SOME_OF
    several: bool = True
    exclusive: bool = False
    guidance: str = f"Tick every label that fits, and none if none does; “{CANT_ANSWER}” only if the item can't be judged."
    keys: str = f"1 to 9 tick a label or take its tick away, 0 is “{CANT_ANSWER}”"

    def input_problem(self, value: JSONObject) -> str | None:
        return missing_input(value, self.input_field)

    def output_problem(self, output: JSONObject, labels: Sequence[str]) -> str | None:
        given = output.get(LABELS)
        if not isinstance(given, list | tuple) or not all(isinstance(label, str) for label in given):
            return "prediction.labels must be a list of texts"
        if len(set(given)) < len(given):
            return "prediction.labels holds a label twice"
        unknown = next((label for label in given if label not in labels), None)
        return None if unknown is None else f"unknown label {unknown!r}"

    def pair_problem(self, shown: JSONObject, output: JSONObject) -> str | None:
        return None

    def prefill(self, output: JSONObject) -> Mapping[str, Sequence[JSON]]:
        return {LABEL: _labels(output)}

    def read(self, controls: Mapping[str, Sequence[JSON]], labels: Sequence[str]) -> JSONObject | None:
        """A page with nothing chosen says that no label fits: that is an answer, and no rejection."""
        if controls.get(REJECT):
            return None
        chosen = [*controls.get(LABEL, ()), *controls.get(OTHER_LABEL, ())]
        unknown = next((label for label in chosen if label not in labels), None)
        if unknown is not None:
            raise ValueError(f"label {unknown!r} is not one of this workspace's labels")
        return self.whole(map(str, chosen))

    def same(self, one: JSONObject | None, other: JSONObject | None) -> bool:
        if one is None or other is None:
            return one is other
        return self.parts(one) == self.parts(other)

    def text(self, output: JSONObject | None) -> str:
        return NONE_OF_THESE if output is None else " · ".join(sorted(_labels(output))) or NO_LABEL

    def brief(self, output: JSONObject) -> str:
        return self.text(output)

    def told(self, output: JSONObject | None, shown: JSONObject) -> str:
        return self.text(output)

    def parts(self, output: JSONObject | None) -> frozenset[str]:
        return frozenset() if output is None else frozenset(_labels(output))

    def whole(self, parts: Iterable[str]) -> JSONObject:
        return {LABELS: sorted(set(parts))}

    def label_of(self, part: str) -> str:
        return part

    def sample_part(self, label: str) -> str:
        return label

    def universe(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Whoever leaves a label out says that it does not fit: every label is answered on every page."""
        return tuple(labels)

    def clashing(self, parts: Iterable[str]) -> Iterator[tuple[str, str]]:
        return iter(())

    def answer(self, scores: Mapping[str, float]) -> tuple[JSONObject, float]:
        output = self.whole(label for label, score in scores.items() if score >= IN_FROM)
        return output, prod(max(score, 1 - score) for score in scores.values())

    def confidence(self, output: JSONObject, scores: Mapping[str, float]) -> float | None:
        """None where a predicted label has no score. A label that is neither predicted nor scored is taken to be surely out."""
        predicted = self.parts(output)
        if not scores or not predicted <= scores.keys():
            return None
        return prod(score if label in predicted else 1 - score for label, score in scores.items())

    def torn_between(self, scores: Mapping[str, float]) -> Mapping[str, float]:
        """The two sides of the label that is most in doubt."""
        if not scores:
            return {}
        label, score = min(scores.items(), key=lambda each: (abs(each[1] - IN_FROM), each[0]))
        return {label: score, f"not {label}": 1 - score}


def _labels(output: JSONObject) -> tuple[str, ...]:
    given = output.get(LABELS)
    return tuple(map(str, given)) if isinstance(given, list | tuple) else ()
