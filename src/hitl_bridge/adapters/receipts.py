"""Receipts as Parquet files, one a batch: immutable, sorted by item, and durable before anything counts on them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, TYPE_CHECKING, cast

import duckdb
import pyarrow.parquet as pq

from hitl_bridge.core.model import JSON, BatchId, ItemId, Problem
from hitl_bridge.core.triage.columns import RECEIPTS
from hitl_bridge.errors import RefusedForSafety
from hitl_bridge.ports import ReceiptFile

if TYPE_CHECKING:
    import pyarrow as pa

_ROW_GROUP = 8_192
"""Small, because the rows are sorted by item: looking one item up reads one group of a file, by its minimum and maximum."""

_ORDER = [("item_id", "ascending"), ("revision", "ascending"), ("model_version", "ascending")]


class ParquetReceipts:
    """Implements `ports.Receipts` in a folder."""

    def __init__(self, folder: Path, *, memory_limit: str = "1GB") -> None:
        self._folder = folder
        self._memory_limit = memory_limit

    def write(self, batch_id: BatchId, receipts: pa.Table) -> ReceiptFile:
        """One file, named by the batch and by its own digest: a file that a committed batch counts on is never changed.

        The same receipts give the same bytes, so writing them again after a crash gives the same file. `path` is
        relative to the folder, so that a workspace can be moved.
        """

        def fill(stream: IO[bytes]) -> None:
            pq.write_table(receipts.sort_by(_ORDER), stream, compression="zstd", row_group_size=_ROW_GROUP)

        path, digest = _write_durably(self._folder, fill, lambda sha256: f"{batch_id}-{sha256[:12]}.parquet")
        return ReceiptFile(path=path.name, sha256=digest, rows=receipts.num_rows)

    def write_rejects(self, batch_id: BatchId, problems: Iterable[Problem], *, more: bool = False) -> str:
        """The rows that were not taken, as JSONL: file, row and reason, never the row's text. Returns the path.

        Args:
            more: adds to the batch's file instead of writing it anew.
        """
        path = self._folder / f"{batch_id}.rejects.jsonl"
        lines = (json.dumps({"file": each.file, "row": each.row, "reason": each.reason}) + "\n" for each in problems)
        self._folder.mkdir(parents=True, exist_ok=True)
        with path.open("a" if more else "w", encoding="ascii") as stream:
            stream.writelines(lines)
        return str(path)

    def known(self, files: Sequence[ReceiptFile], predictions: pa.Table) -> pa.Table:
        """Receipts of the items in `predictions`: item_id, revision, model_version, input_digest, content_digest and
        `purpose` (NULL: nobody was to see it then).

        Raises:
            RefusedForSafety: if a file that the store counts on is missing.
        """
        with self._reading(files) as connection:
            connection.register("predictions", predictions.select(["item_id"]))
            return connection.sql(
                """SELECT item_id, revision, model_version, input_digest, content_digest, purpose
                FROM receipts SEMI JOIN predictions USING (item_id)
                ORDER BY item_id, revision, model_version"""
            ).to_arrow_table()

    def of_item(self, files: Sequence[ReceiptFile], item_id: ItemId) -> list[Mapping[str, JSON]]:
        """Every receipt of one item in the order of `files`, which is that of their batches.

        Raises:
            RefusedForSafety: if a file that the store counts on is missing or damaged.
        """
        with self._reading(files) as connection:
            query = "SELECT * FROM receipts WHERE item_id = $item_id"
            rows = connection.sql(query, params={"item_id": item_id}).to_arrow_table().to_pylist()
        place = {str(self._folder / file.path): at for at, file in enumerate(files)}
        rows.sort(key=lambda row: (place[row["filename"]], row["revision"], row["model_version"]))
        return [{name: row[name] for name in RECEIPTS} for row in rows]

    @contextmanager
    def _reading(self, files: Sequence[ReceiptFile]) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection in which `receipts` is all the rows of these files, and of no others."""
        paths = [self._folder / file.path for file in files]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise RefusedForSafety(
                f"{len(missing)} file(s) of receipts are missing, the first is {missing[0]}.",
                remedy="Restore them from a backup: without them a prediction could be taken twice.",
            )
        with duckdb.connect(":memory:", config={"memory_limit": self._memory_limit}) as connection:
            try:
                connection.execute(f"CREATE VIEW receipts AS {_source(paths)}")
                yield connection
            except (duckdb.IOException, duckdb.InvalidInputException) as error:
                raise RefusedForSafety(
                    f"The receipts in {self._folder} can't be read: {str(error).splitlines()[0]}",
                    remedy="Restore the file from a backup: without it a prediction could be taken twice.",
                ) from None


def _source(paths: Sequence[Path]) -> str:
    if not paths:
        columns = ", ".join(f"NULL::{kind} AS {name}" for name, kind in RECEIPTS.items())
        return f"SELECT {columns}, NULL::VARCHAR AS filename WHERE false"
    listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    return f"SELECT * FROM read_parquet([{listed}], filename = true, union_by_name = true)"  # noqa: S608 (quoted paths)


def _write_durably(folder: Path, fill: Callable[[IO[bytes]], None], name: Callable[[str], str]) -> tuple[Path, str]:
    """Writes beside, forces to disk, renames, forces the folder to disk: there is never half a file under its name.

    Args:
        name: the file's name, given the SHA-256 of what is in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=folder, prefix=".new-", delete=False) as stream:
        beside = Path(stream.name)
        try:
            fill(cast("IO[bytes]", stream))
            stream.flush()
            os.fsync(stream.fileno())
        except BaseException:
            beside.unlink()
            raise
    with beside.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    path = beside.replace(folder / name(digest))
    _sync_folder(folder)
    return path, digest


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
