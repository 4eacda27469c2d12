"""Which items of the uniform stream may calibrate and choose thresholds today, and how they look to the triage engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from hitl_bridge.core import draws
from hitl_bridge.core.budget.choosing import step
from hitl_bridge.core.model import Item, ItemState
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.core.task_types.outputs import headline
from hitl_bridge.core.triage.columns import PREDICTIONS
from hitl_bridge.core.triage.normalise import canonical
from hitl_bridge.core.triage.uncertainty import doubts
from hitl_bridge.ports import CalibrationItem

if TYPE_CHECKING:
    import pyarrow as pa

_NEVER_JUDGED = (ItemState.QUARANTINED, ItemState.FAILED)


@dataclass(frozen=True, slots=True)
class Cohort:
    """Items in an order that no answer has made, and as many as were fixed beforehand. `waiting` ones come later;
    `counted_wrong` of them were not decided in time or could not be judged."""

    items: tuple[CalibrationItem, ...]
    waiting: int
    counted_wrong: int


def cohort(there: Sequence[CalibrationItem], key: bytes, now: datetime) -> Cohort:
    """The items up to the first that is still open and in time, in the order in which they came in.

    Taking whatever is decided already would leave out the hard ones, on which people disagree and which take longer: so one
    that is overdue counts as wrong, and those that came after an open one wait until it is decided or due.
    """
    settled = next((place for place, each in enumerate(there) if _is_open(each, now)), len(there))
    kept = there[: step(settled)]
    wrong = sum(each.outcome is None for each in kept)
    return Cohort(_shuffled(kept, key), len(there) - len(kept), wrong)


def _is_open(each: CalibrationItem, now: datetime) -> bool:
    return each.outcome is None and each.item.state not in _NEVER_JUDGED and each.item.route.due_at > now


def _shuffled(items: Sequence[CalibrationItem], key: bytes) -> tuple[CalibrationItem, ...]:
    """By keyed draw: tests that take items one after the other must meet them in an order that tells nothing."""
    return tuple(sorted(items, key=lambda each: draws.draw(key, "calibration order", "", each.item.item_id)))


def digest(key: bytes, items: Sequence[Item]) -> str:
    """Names a set of items, whatever their order."""
    names = sorted(f"{item.item_id}\x1f{item.revision}" for item in items)
    return draws.digest(key, "calibration items", "\n".join(names))


def predictions_of(items: Sequence[CalibrationItem], kind: TaskType) -> pa.Table:
    """The predictions as the engine reads them (`core.triage.columns.PREDICTIONS`), without inputs and digests."""
    import pyarrow as pa

    predictions = [each.item.prediction for each in items]
    margins, entropies = doubts([kind.torn_between(each.scores) for each in predictions])
    columns: dict[str, object] = {
        "item_id": [each.item_id for each in predictions],
        "input": ["{}"] * len(items),
        "output": [canonical(each.output) for each in predictions],
        "scores": [canonical(dict(each.scores)) for each in predictions],
        "confidence": [each.confidence for each in predictions],
        "margin": margins,
        "entropy": entropies,
        "label": [headline(each.output) for each in predictions],
        "model_version": [each.model_version for each in predictions],
        "scenario": [each.scenario for each in predictions],
        "attributes": [canonical(each.attributes) for each in predictions],
        "predicted_at": [each.predicted_at for each in predictions],
        "input_digest": [""] * len(items),
        "content_digest": [""] * len(items),
        "row": list(range(1, len(items) + 1)),
    }
    kinds = {"VARCHAR": pa.string(), "DOUBLE": pa.float64(), "BIGINT": pa.int64()}
    arrays = [
        pa.array(columns.get(name, [None] * len(items)), type=kinds[kind], from_pandas=True) for name, kind in PREDICTIONS.items()
    ]
    return pa.Table.from_arrays(arrays, names=list(PREDICTIONS))
