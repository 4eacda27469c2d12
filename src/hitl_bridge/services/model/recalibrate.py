"""Thresholds for a model that has just taken over: chosen from what people said of the uniform stream, as if it had predicted it.

The items are those that people have judged already, with the new model's scores in place of the old one's. They were drawn at
random before anyone looked and were not trained on, so what they say of the old model's errors they say of the new one's.
What could not be scored (rejected as not judgeable, its text erased, not judged in time) counts as wrong, and as sure: that can
only close, never open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hitl_bridge.core.model import JSONObject, Outcome
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.ports import CalibrationItem, CalibrationRow, ModelAnswer, ThresholdRow, ThresholdStore
from hitl_bridge.services.policy.thresholds import ModelThresholds, ThresholdPorts, choose

if TYPE_CHECKING:
    from hitl_bridge.core.triage.calibration import Calibration

Answers = Mapping[str, ModelAnswer]
"""What a model says, by item."""


def recalibrate(ports: ThresholdPorts, policy: ReviewPolicy, model_version: str, answers: Answers) -> ModelThresholds | None:
    """Chooses and records thresholds of `model_version`; None where there is nothing to choose from.

    What lets through more than what is in force, which for a new model is anything, waits for `thresholds approve`.
    """
    items = rescored(ports.store.calibration_items(), model_version, answers, policy.kind)
    if not items:
        return None
    result = choose(replace(ports, store=_AsIfItHadPredicted(ports.store, items)), policy, force=True)
    return next(iter(result.models), None)


def rescored(there: Sequence[CalibrationItem], model_version: str, answers: Answers, kind: TaskType) -> list[CalibrationItem]:
    """The items up to the last that was scored, in the order in which they came in, as that model sees them."""
    last = max((place for place, each in enumerate(there) if each.item.item_id in answers), default=-1)
    return [_seen(each, model_version, answers.get(each.item.item_id), kind) for each in there[: last + 1]]


def _seen(each: CalibrationItem, model_version: str, answer: ModelAnswer | None, kind: TaskType) -> CalibrationItem:
    if answer is None or each.output is None:
        outcome = None if each.outcome is None else Outcome.REJECTED
        answer = _surely(each.item.prediction.output, each.item.prediction.scores, kind)
    else:
        outcome = Outcome.ACCEPTED if kind.same(answer.output, each.output) else Outcome.CORRECTED
    prediction = replace(
        each.item.prediction,
        model_version=model_version,
        output=answer.output,
        scores=answer.scores,
        confidence=answer.confidence,
    )
    return CalibrationItem(replace(each.item, prediction=prediction), outcome, each.output)


def _surely(output: JSONObject, scores: Mapping[str, float], kind: TaskType) -> ModelAnswer:
    """As sure of it as can be."""
    said = {kind.label_of(part) for part in kind.parts(output)}
    return ModelAnswer(output, 1.0, {label: float(label in said) for label in (*scores, *said)})


class _AsIfItHadPredicted:
    """The thresholds' store, but for the items."""

    def __init__(self, store: ThresholdStore, items: Sequence[CalibrationItem]) -> None:
        self._store = store
        self._items = list(items)

    def calibration_items(self) -> list[CalibrationItem]:
        return self._items

    def mark(self) -> str:
        return self._store.mark()

    def in_force(self) -> Sequence[ThresholdRow]:
        return self._store.in_force()

    def proposals(self) -> Sequence[ThresholdRow]:
        return self._store.proposals()

    def newest(self) -> int:
        return self._store.newest()

    def calibration_row(self, calibration: Calibration) -> CalibrationRow | None:
        return self._store.calibration_row(calibration)

    def record_calibration(self, row: CalibrationRow) -> None:
        self._store.record_calibration(row)

    def record(self, row: ThresholdRow) -> None:
        self._store.record(row)
