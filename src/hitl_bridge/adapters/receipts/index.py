"""What the files of receipts hold, asked for a few items at a time, many times a second.

Reading every file for each request would cost more than all the rest. So the hashes of all items are kept in memory (eight
bytes an item), and files are read only for an item that may be in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from hitl_bridge.adapters.receipts.files import ITEM_HASH
from hitl_bridge.core import macs
from hitl_bridge.core.model import JSON, ItemId
from hitl_bridge.core.triage.columns import RECEIPTS
from hitl_bridge.core.triage.revisions import Arrival, KnownReceipt
from hitl_bridge.core.triage.seen import Hashes, SeenHashes
from hitl_bridge.errors import RefusedForSafety
from hitl_bridge.ports import ReceiptFile

if TYPE_CHECKING:
    from hitl_bridge.adapters.receipts.files import ParquetReceipts

_AT_ONCE = 1_000_000
_ARROW = {
    "VARCHAR": pa.string(),
    "DOUBLE": pa.float64(),
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "BOOLEAN": pa.bool_(),
}


class ReceiptIndex:
    """Implements `ports.KnownItems` over the files of `receipts`, which lie in `folder`. One thread uses it."""

    def __init__(self, receipts: ParquetReceipts, folder: Path) -> None:
        self._receipts = receipts
        self._folder = folder
        self._files: list[ReceiptFile] = []
        self._seen = SeenHashes()

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, files: Sequence[ReceiptFile]) -> None:
        """Raises RefusedForSafety if a file that the store counts on is missing or damaged."""
        for file in files:
            with _readable(self._folder):
                for hashes in _hashes_in(self._folder / file.path):
                    self._seen.add(hashes)
        self._files += files

    def known(self, item_ids: Sequence[str]) -> list[KnownReceipt]:
        perhaps = self._perhaps(item_ids)
        if not perhaps:
            return []
        table = self._receipts.known(self._files, pa.table({"item_id": pa.array(perhaps, pa.string())}))
        arrivals = map(Arrival, *(table[name].to_pylist() for name in Arrival._fields))
        asked = (purpose is not None for purpose in table["purpose"].to_pylist())
        return list(map(KnownReceipt, arrivals, table["revision"].to_pylist(), asked))

    def receipt(self, item_id: str, model_version: str, revision: int) -> Mapping[str, JSON]:
        for row in self._receipts.of_item(self._files, ItemId(item_id)):
            if (row["model_version"], row["revision"]) == (model_version, revision):
                return row
        raise RefusedForSafety(
            f"The receipts of item {item_id} are not what they were a moment ago.",
            remedy="Was a file of receipts changed or put back? Restore the folder from a backup.",
        )

    def _perhaps(self, item_ids: Sequence[str]) -> list[str]:
        if not len(self._seen) or not item_ids:
            return []
        hashes = np.fromiter(map(macs.item_hash, item_ids), np.uint64, len(item_ids))
        return [item_id for item_id, holds in zip(item_ids, self._seen.holds(hashes), strict=True) if holds]


def _hashes_in(path: Path) -> Iterator[Hashes]:
    """Files of the first form hold no hashes: there they are made."""
    with pq.ParquetFile(path) as file:
        column = ITEM_HASH if ITEM_HASH in file.schema_arrow.names else "item_id"
        for batch in file.iter_batches(_AT_ONCE, columns=[column]):
            values = batch.column(0)
            yield values.to_numpy() if column == ITEM_HASH else macs.item_hashes(values.cast(pa.string()))


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise RefusedForSafety(
            f"The receipts in {folder} can't be read: {str(error).splitlines()[0]}",
            remedy="Restore the file from a backup: without it a prediction could be taken twice.",
        ) from None


def receipt_table(receipts: Sequence[str]) -> pa.Table:
    """Receipts that were kept as JSON texts, as the table that the engine made of them. A column that another version of the
    bridge put into them is kept."""
    schema = pa.schema([(name, _ARROW[kind]) for name, kind in RECEIPTS.items()])
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer")
    text = "\n".join(receipts).encode()
    read = pj.ReadOptions(block_size=max(1 << 20, len(text) + 1))
    return cast("pa.Table", pj.read_json(pa.BufferReader(text), read_options=read, parse_options=options))
