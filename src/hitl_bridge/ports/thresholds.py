"""Calibrations and thresholds: what they are chosen from, which are in force, and who said so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from hitl_bridge.core.model import Item, JSONObject, Outcome
from hitl_bridge.core.triage.calibration import Calibration
from hitl_bridge.core.triage.plan import Threshold


@dataclass(frozen=True, slots=True)
class CalibrationItem:
    """An item of the uniform stream's calibration part (its input left out), and what was decided: None if nothing yet."""

    item: Item
    outcome: Outcome | None
    output: JSONObject | None


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What a model says of an item, how sure it is that all of it is right, and its scores by label (may be empty)."""

    output: JSONObject
    confidence: float
    scores: Mapping[str, float]


class Standing(StrEnum):
    """What a row of thresholds is. CHOSEN and TIGHTENED let through no more than the row before and are in force by themselves;
    PROPOSED lets through more and waits for a person; APPROVED is a proposal that a person has signed off."""

    CHOSEN = "chosen"
    TIGHTENED = "tightened"
    PROPOSED = "proposed"
    APPROVED = "approved"


@dataclass(frozen=True, slots=True)
class ThresholdRow:
    """The thresholds of one model version, with the calibration that their risks are computed by. No `thresholds`: nothing is
    approved without a look.

    `terms` are those of the budget that they keep, `figures` what they let through, `items` and `items_digest` what they come
    from. `number` is given by the store, and so is `calibration_number`.
    """

    model_version: str
    standing: Standing
    calibration: Calibration | None
    thresholds: tuple[Threshold, ...]
    terms: JSONObject
    figures: JSONObject
    items: int
    items_digest: str
    by: str
    reason: str
    at: datetime
    number: int = 0


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    """A calibration, the number of items it was fitted on and their digest, and how well it fits (`figures`)."""

    calibration: Calibration
    items: int
    items_digest: str
    figures: JSONObject
    at: datetime


class ThresholdStore(Protocol):
    """Append-only; every row comes with its event in the audit log."""

    def calibration_items(self) -> list[CalibrationItem]:
        """In the order in which they came in, the latest revision of each; withdrawn ones are left out."""

    def mark(self) -> str:
        """Changes when there is another calibration item or decision; cheap."""

    def in_force(self) -> Sequence[ThresholdRow]:
        """The newest row of each model version that is no proposal."""

    def proposals(self) -> Sequence[ThresholdRow]:
        """Of each model version the newest row, where that is a proposal."""

    def newest(self) -> int:
        """The number of the newest row; 0 without any."""

    def calibration_row(self, calibration: Calibration) -> CalibrationRow | None:
        """Where that calibration came from."""

    def record_calibration(self, row: CalibrationRow) -> None:
        """Writes it where it is not there yet."""

    def record(self, row: ThresholdRow) -> None:
        """Writes it with its event. Raises UsageError if its calibration was never recorded."""
