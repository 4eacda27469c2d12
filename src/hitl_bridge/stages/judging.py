"""What a model says of labelled examples, held against what is true; the same for every kind of task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hitl_bridge.core.task_types import TaskType
from hitl_bridge.stages.artifacts import from_scores
from hitl_bridge.stages.metrics import Counts, Outcomes, outcomes
from hitl_bridge.stages.snapshot import Example
from hitl_bridge.stages.trainers import AnsweringModel, Model, Predicted, Unlabelled

NOTHING = "–"
"""In the table of confusions: there is no such part, or nobody named it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """`said` is each answer in words; `confused` the pairs (true label, label said) of all its parts, in the items' order."""

    outcomes: Outcomes
    said: tuple[str, ...]
    confused: tuple[tuple[str, str], ...]


def judge(model: Model | AnsweringModel, examples: Sequence[Example], kind: TaskType, labels: Sequence[str]) -> Judged:
    """How a model does on these examples.

    Args:
        model: its scores, if it gives any, are in columns of `labels`.
        examples: all with labels out of these.
    """
    items = [Unlabelled(example.item_id, example.input) for example in examples]
    if kind.several or not isinstance(model, Model):
        return _by_parts(answers_of(model, items, kind, labels), examples, kind, labels)
    found = outcomes(model.scores(items), [labels.index(example.label) for example in examples])
    said = tuple(labels[code] for code in found.predicted)
    return Judged(found, said, tuple((example.label, one) for example, one in zip(examples, said, strict=True)))


def answers_of(
    model: Model | AnsweringModel, items: Sequence[Unlabelled], kind: TaskType, labels: Sequence[str]
) -> list[Predicted]:
    """A model's own answers, or what its scores say."""
    return model.answers(items) if isinstance(model, AnsweringModel) else from_scores(model.scores(items), labels, kind)


def _by_parts(answers: Sequence[Predicted], examples: Sequence[Example], kind: TaskType, labels: Sequence[str]) -> Judged:
    """An answer is right if all of it is; beside that each part is counted, by its label."""
    said = [kind.parts(each.output) for each in answers]
    true = [kind.parts(example.output) for example in examples]
    place = {label: number for number, label in enumerate(labels)}
    counts = Counts.empty(len(examples), len(labels))
    for row, (one, other) in enumerate(zip(said, true, strict=True)):
        for parts, column in ((one, counts.named), (other, counts.there), (one & other, counts.hits)):
            for label, number in Counter(map(kind.label_of, parts)).items():
                if label in place:
                    column[row, place[label]] = number
    right = np.array([one == other for one, other in zip(said, true, strict=True)], dtype=bool)
    nothing = np.zeros(len(examples), dtype=np.int64)
    confidence = np.array([each.confidence for each in answers], dtype=np.float64)
    pairs = tuple(pair for one, other in zip(said, true, strict=True) for pair in _confused(one, other, kind))
    return Judged(Outcomes(nothing, confidence, right, nothing, counts), tuple(kind.text(each.output) for each in answers), pairs)


def _confused(said: frozenset[str], true: frozenset[str], kind: TaskType) -> Iterator[tuple[str, str]]:
    yield from ((kind.label_of(part), kind.label_of(part)) for part in sorted(said & true))
    yield from ((kind.label_of(part), NOTHING) for part in sorted(true - said))
    yield from ((NOTHING, kind.label_of(part)) for part in sorted(said - true))
