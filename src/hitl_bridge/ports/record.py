"""What was recorded of predictions and reviews, read as a whole: for planning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from hitl_bridge.core.model import ItemId, JSONObject
from hitl_bridge.core.planning.work import RecordedAnswer as RecordedAnswer
from hitl_bridge.core.planning.work import Settled as Settled
from hitl_bridge.ports.triage import ReceiptFile

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class RecordedBatch:
    """A file of receipts and when its predictions came in."""

    file: ReceiptFile
    received_at: datetime


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """The decision that holds for a revision of an item; `output` is None where it was rejected."""

    item_id: ItemId
    revision: int
    output: JSONObject | None


class ReviewRecord(Protocol):
    """What the store knows of past reviews."""

    def batches(self) -> list[RecordedBatch]:
        """Oldest first."""

    def decisions(self) -> Iterator[RecordedDecision]:
        """One for each revision of an item that has a decision which holds."""

    def settled(self) -> list[Settled]: ...
    def answers(self) -> Iterator[RecordedAnswer]:
        """Each annotation that counts as an answer, once."""

    def undecided(self) -> int:
        """Items that wait for a decision."""


class RecordedReceipts(Protocol):
    """Files of receipts as tables."""

    def read(self, files: Sequence[ReceiptFile]) -> Iterator[pa.Table]:
        """The receipts of each file, in parts that fit into memory; columns: `core.triage.columns.RECEIPTS`.

        Raises RefusedForSafety where a file is missing or damaged.
        """
