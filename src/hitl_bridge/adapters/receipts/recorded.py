"""Files of receipts as tables, a part at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hitl_bridge.core.triage.columns import RECEIPTS
from hitl_bridge.errors import RefusedForSafety
from hitl_bridge.ports import ReceiptFile

_ROWS = 200_000


class ParquetRecord:
    """Implements `ports.RecordedReceipts`: the files that `adapters.receipts.files` writes into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, files: Sequence[ReceiptFile]) -> Iterator[pa.Table]:
        for file in files:
            yield from self._parts(self._folder / file.path)

    def _parts(self, path: Path) -> Iterator[pa.Table]:
        try:
            with pq.ParquetFile(path) as opened:
                there = [name for name in RECEIPTS if name in opened.schema_arrow.names]
                for batch in opened.iter_batches(_ROWS, columns=there):
                    yield pa.Table.from_batches([batch])
        except (OSError, pa.ArrowInvalid) as error:
            raise RefusedForSafety(
                f"The receipts in {path.name} can't be read: {str(error).splitlines()[0]}",
                remedy="Restore the file from a backup: a plan that leaves a part of the record out would mislead.",
            ) from None
