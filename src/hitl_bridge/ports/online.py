"""Predictions that are answered one by one: what the store keeps of them until a batch of them is a file of receipts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from hitl_bridge.core.model import Item, ItemId
from hitl_bridge.core.triage.revisions import Arrival, KnownReceipt
from hitl_bridge.ports.store import Batch
from hitl_bridge.ports.triage import PredictionChunk, ReceiptFile

if TYPE_CHECKING:
    import pyarrow as pa

    from hitl_bridge.core.model import JSON


@dataclass(frozen=True, slots=True)
class RequestKey:
    """An idempotency key: who chose it, and a keyed digest of what they asked under it."""

    caller: str
    key: str
    request_digest: str


@dataclass(frozen=True, slots=True)
class OnlineRow:
    """A prediction that was answered with `receipt` (canonical JSON). `asked`: a person is to see the item. `item` is there
    until the flush makes it one, without its `batch_id`; None also where the item was one before. `seq` is 0 until recorded."""

    arrival: Arrival
    revision: int
    receipt: str
    received_at: datetime
    asked: bool
    item: Item | None = None
    seq: int = 0


@dataclass(frozen=True, slots=True)
class OnlineView:
    """What was there at one moment: the rows of the items that were asked for, the request digests of the keys, the receipt
    files newer than the last ones seen, and how far rows and files had been counted."""

    rows: Sequence[OnlineRow] = ()
    keys: Mapping[tuple[str, str], str] = field(default_factory=dict)
    new_files: Sequence[ReceiptFile] = ()
    newest_row: int = 0
    newest_file: int = 0


class OnlineStore(Protocol):
    """Answered predictions. Whoever writes here needs no lease but for `record_flush`: two writers see each other by `record`."""

    def look(self, item_ids: Collection[str], keys: Collection[RequestKey], files_after: int) -> OnlineView: ...

    def record(self, rows: Sequence[OnlineRow], keys: Sequence[RequestKey], seen: OnlineView, at: datetime) -> bool:
        """Keeps rows and keys that are new, durable when this returns True. False, and nothing was written, if since `seen`
        somebody else has written of one of these items or keys, or a file of receipts has come: then look again."""

    def waiting(self, most: int) -> list[OnlineRow]:
        """Rows that are in no file of receipts yet, oldest first; their items without `batch_id`."""

    def waiting_for(self, item_id: ItemId) -> list[str]:
        """The receipts of one item that are in no file yet, oldest first."""

    def record_flush(self, batch: Batch, receipts: ReceiptFile, items: Sequence[Item], up_to: int) -> None:
        """Like `record_batch`, and in the same transaction: every row up to `up_to` is in a file."""

    def forget(self, *, keep: int, keys_before: datetime) -> None:
        """Removes flushed rows but for the newest `keep`, and keys that are older. In steps, each short."""


class KnownItems(Protocol):
    """What files of receipts hold, asked for a few items at a time."""

    def add(self, files: Sequence[ReceiptFile]) -> None:
        """From now on these files count too."""

    def known(self, item_ids: Sequence[str]) -> list[KnownReceipt]:
        """The receipts of these items, by what tells one from another."""

    def receipt(self, item_id: str, model_version: str, revision: int) -> Mapping[str, JSON]:
        """The receipt of a prediction that is known."""


class RowChecker(Protocol):
    def __call__(self, rows: Sequence[JSON]) -> PredictionChunk:
        """The rows of a request, checked as those of a file are. Numbers count from 1."""


class ReceiptTable(Protocol):
    def __call__(self, receipts: Sequence[str]) -> pa.Table:
        """Receipts that were kept as canonical JSON, as the table that they were."""
