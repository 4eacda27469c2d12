"""Receipts as Parquet files, one a batch: immutable, bucketed by item, and durable before anything counts on them.

A bucket is a row group with the items of one range of hashes (`core.macs.item_hash`), in sorted runs, so that an item can only be
in one of them, which the file's footer tells. Files of the first form are sorted by the item's id and have no hash; digests
stand in them as text. Whoever reads receipts here sees no difference.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, TYPE_CHECKING, Any, cast

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hitl_bridge.adapters.predictions.repeated import KnownHashes, repeated
from hitl_bridge.adapters.triage_engine.doubt import disagreement
from hitl_bridge.core import macs
from hitl_bridge.core.model import JSON, BatchId, ItemId, Problem
from hitl_bridge.core.triage.arrivals import BUCKET_ROWS, among, bucket_bits, hashes_of
from hitl_bridge.core.triage.columns import RECEIPTS
from hitl_bridge.errors import RefusedForSafety
from hitl_bridge.ports import ReceiptFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

ITEM_HASH = "item_hash"
_MACS = {"input_digest": "input_mac", "content_digest": "content_mac"}
"""Digests of the present form are kept as 16 bytes: as text they would be half of the file."""

_TEXTS = ("item_id", "attributes", "output", "input_digest", "content_digest")
_COLUMNS = {**RECEIPTS, ITEM_HASH: "UBIGINT", **dict.fromkeys(_MACS.values(), "BLOB")}
_MEMORY = "1GB"
"""What DuckDB may take; the rest is spilled to disk."""


class ParquetReceipts:
    """Implements `ports.Receipts` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._forms: dict[Path, bool] = {}

    # ------------------------------------------------------------------------------------------------------ writing

    def write(self, batch_id: BatchId, receipts: pa.Table) -> ReceiptFile:
        """One file, named by the batch and by its own digest: a file that a committed batch counts on is never changed.

        The same receipts give the same bytes, so writing them again after a crash gives the same file. `path` is
        relative to the folder, so that a workspace can be moved. A column `item_hash` saves computing it.
        """
        table = _stored(receipts)

        def fill(stream: IO[bytes]) -> None:
            codes = [field.name for field in table.schema if _is_coded(field)]
            compression = {name: "zstd" if name in _COMPRESSED else "none" for name in table.column_names}
            options = {"compression": compression, "use_dictionary": codes, "write_statistics": [ITEM_HASH]}
            with pq.ParquetWriter(stream, table.schema, **options) as file:
                for bucket in _buckets(table):
                    file.write_table(bucket, row_group_size=max(1, bucket.num_rows))

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

    # ------------------------------------------------------------------------------------------------------ looking

    def known(self, files: Sequence[ReceiptFile], predictions: pa.Table) -> pa.Table:
        """Receipts of the items in `predictions`: item_id, revision, model_version, input_digest, content_digest and
        `purpose` (NULL: nobody was to see it then), by item.

        Args:
            predictions: with `item_id`, and `item_hash` where it is there already.

        Raises:
            RefusedForSafety: if a file that the store counts on is missing.
        """
        wanted = _with_hash(predictions.select([name for name in ("item_id", ITEM_HASH) if name in predictions.column_names]))
        if not wanted.num_rows:
            return _nothing_known()
        hashed, first = self._by_form(files)
        if not files:
            return _nothing_known()
        with self._reading() as connection:
            connection.register("wanted", _in_files(connection, hashed, wanted) if not first else wanted)
            parts = [f"SELECT {_KNOWN} FROM {_source(hashed)} SEMI JOIN wanted USING (item_hash, item_id)"] if hashed else []  # noqa: S608
            parts += [f"SELECT {_KNOWN} FROM {_source(first)} SEMI JOIN wanted USING (item_id)"] if first else []  # noqa: S608
            both = " UNION ALL ".join(parts)
            return connection.sql(f"SELECT * FROM ({both}) ORDER BY item_id, revision, model_version").to_arrow_table()  # noqa: S608

    def with_disagreement(self, files: Sequence[ReceiptFile], predictions: pa.Table) -> pa.Table:
        """The predictions with a column `disagreement`: of all models that predicted the same revision of the item, here or in
        receipts, the share that says something else (`triage_engine.doubt`).

        Args:
            predictions: with `item_hash` and `revision`.

        Raises:
            RefusedForSafety: if a file that the store counts on is missing.
        """
        hashed, first = self._by_form(files)
        asked = predictions.select(["item_id", ITEM_HASH, "revision", "model_version", "label"])
        with self._reading() as connection:
            connection.register("asked", asked.append_column("place", pa.array(np.arange(asked.num_rows))))
            parts = [_SAID_NOTHING]
            parts += [f"SELECT {_SAID} FROM {_source(hashed)} SEMI JOIN asked USING (item_hash, item_id)"] if hashed else []  # noqa: S608
            parts += [f"SELECT {_SAID} FROM {_source(first)} SEMI JOIN asked USING (item_id)"] if first else []  # noqa: S608
            connection.execute(f"CREATE VIEW known AS {' UNION ALL '.join(parts)}")
            shares = f"SELECT * FROM ({disagreement('asked', 'known')})"  # noqa: S608 (ours)
            query = f"SELECT disagreement FROM asked JOIN ({shares}) USING (item_id, revision, model_version) ORDER BY place"  # noqa: S608
            return predictions.append_column("disagreement", connection.sql(query).to_arrow_table()["disagreement"])

    def of_item(self, files: Sequence[ReceiptFile], item_id: ItemId) -> list[Mapping[str, JSON]]:
        """Every receipt of one item in the order of `files`, which is that of their batches.

        Raises:
            RefusedForSafety: if a file that the store counts on is missing or damaged.
        """
        hashed, first = self._by_form(files)
        rows: list[dict[str, Any]] = []
        with self._reading() as connection:
            for paths, condition in ((hashed, "item_hash = $item_hash AND item_id = $item_id"), (first, "item_id = $item_id")):
                if paths:
                    params = {"item_id": item_id, "item_hash": macs.item_hash(item_id)}
                    given = {name: value for name, value in params.items() if f"${name}" in condition}
                    query = f"SELECT * FROM {_source(paths)} WHERE {condition}"  # noqa: S608
                    rows += connection.sql(query, params=given).to_arrow_table().to_pylist()
        place = {str(self._folder / file.path): at for at, file in enumerate(files)}
        rows.sort(key=lambda row: (place[row["filename"]], row["revision"], row["model_version"]))
        return [{name: row[name] for name in RECEIPTS} for row in rows]

    def repeated(
        self, files: Sequence[ReceiptFile], hashes: Iterable[NDArray[np.uint64]], rows: int
    ) -> NDArray[np.uint64] | None:
        """Of the items of a long input those that come more than once, or have receipts in `files`: their hashes, sorted.

        Costs one look at each hash, whatever there is of them, in bounded memory: so that a batch of new items asks nothing.

        Args:
            hashes: `core.macs.item_hashes` of all rows, in pieces, each of them sorted.
            rows: about how many they are in all.

        Returns:
            None where there are too many to be kept in memory: every batch has to ask.

        Raises:
            RefusedForSafety: if a file that the store counts on is missing.
        """
        hashed, first = self._by_form(files)
        with self._telling():
            return repeated(hashes, rows, KnownHashes(hashed, first))

    # ------------------------------------------------------------------------------------------------------- files

    def _by_form(self, files: Sequence[ReceiptFile]) -> tuple[list[Path], list[Path]]:
        """Paths of the files that have hashes, and of those that are older."""
        paths = [self._folder / file.path for file in files]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise RefusedForSafety(
                f"{len(missing)} file(s) of receipts are missing, the first is {missing[0]}.",
                remedy="Restore them from a backup: without them a prediction could be taken twice.",
            )
        with self._telling():
            for path in paths:
                if path not in self._forms:
                    self._forms[path] = ITEM_HASH in pq.read_schema(path).names
        return [path for path in paths if self._forms[path]], [path for path in paths if not self._forms[path]]

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        config = {"memory_limit": _MEMORY}
        with self._telling(), duckdb.connect(":memory:", config=config) as connection:
            yield connection

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.IOException, duckdb.InvalidInputException, pa.ArrowInvalid, OSError) as error:
            raise RefusedForSafety(
                f"The receipts in {self._folder} can't be read: {str(error).splitlines()[0]}",
                remedy="Restore the file from a backup: without it a prediction could be taken twice.",
            ) from None


_FEW = 2_000
"""Of so many items, looking at their hashes alone would save nothing."""


def _in_files(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path], wanted: pa.Table) -> pa.Table:
    """Of those items the ones that may be in the files. Reads nothing but hashes, of all receipts: as a rule there are none."""
    if wanted.num_rows <= _FEW:
        return wanted
    connection.register("all_wanted", wanted)
    listed = ", ".join(_quoted(path) for path in paths)
    query = f"SELECT DISTINCT item_hash FROM read_parquet([{listed}]) SEMI JOIN all_wanted USING (item_hash)"  # noqa: S608
    there = np.sort(np.asarray(connection.sql(query).to_arrow_table()[ITEM_HASH], np.uint64))
    return wanted.filter(pa.array(among(np.asarray(wanted[ITEM_HASH], np.uint64), there)))


_KNOWN = "item_id, revision, model_version, input_digest, content_digest, purpose"
_SAID = "item_id, revision, model_version::VARCHAR AS model_version, json_extract_string(output, '/label') AS label"
_SAID_NOTHING = "SELECT ''::VARCHAR AS item_id, 0::INTEGER AS revision, '' AS model_version, '' AS label WHERE false"


def _nothing_known() -> pa.Table:
    kinds = {"revision": pa.int32()}
    return pa.table({name: pa.array([], kinds.get(name, pa.string())) for name in _KNOWN.split(", ")})


def _source(paths: Sequence[Path]) -> str:
    """All the rows of these files, with every column of receipts, and `filename`."""
    listed = ", ".join(_quoted(path) for path in paths)
    read = f"SELECT * FROM read_parquet([{listed}], filename = true, union_by_name = true)"  # noqa: S608 (quoted paths)
    none = ", ".join(f"NULL::{kind} AS {name}" for name, kind in _COLUMNS.items())
    texts = ", ".join(f"coalesce(lower(hex({mac})), {name}) AS {name}" for name, mac in _MACS.items())
    return f"(SELECT * REPLACE ({texts}) FROM ({read} UNION ALL BY NAME SELECT {none} WHERE false))"  # noqa: S608


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


# ------------------------------------------------------------------------------------------------- what is stored


def _with_hash(table: pa.Table) -> pa.Table:
    if ITEM_HASH in table.column_names:
        return table
    return table.append_column(ITEM_HASH, pa.array(macs.item_hashes(_texts(table["item_id"])), pa.uint64()))


def _texts(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays([chunk.cast(pa.string()) for chunk in column.chunks] or [pa.array([], pa.string())])


def _stored(receipts: pa.Table) -> pa.Table:
    """As it lies in the file: sorted, with its hash, digests as bytes."""
    table = _with_hash(receipts)
    for name, mac in _MACS.items():
        if name in table.column_names and (digests := _as_bytes(table[name])) is not None:
            table = table.set_column(table.column_names.index(name), mac, digests)
    return _without_nullable(table if _is_bucketed(table) else _sorted(table))


def _without_nullable(table: pa.Table) -> pa.Table:
    """A column that says it has no nulls is written a quarter faster."""
    fields = [field.with_nullable(bool(table[field.name].null_count)) for field in table.schema]
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields))


def _as_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """None for digests of another form, which stay what they are."""
    if pa.types.is_fixed_size_binary(column.type):
        return column
    texts = column.to_pylist()
    if not all(text is not None and len(text) == 2 * macs.SIZE and set(text) <= _HEX for text in texts):
        return None
    return pa.chunked_array([pa.array([bytes.fromhex(text) for text in texts], pa.binary(macs.SIZE))])


_HEX = frozenset("0123456789abcdef")


def _sorted(table: pa.Table) -> pa.Table:
    """By hash; where two have the same one, by item, revision and model version."""
    names = [(name, "ascending") for name in (ITEM_HASH, "item_id", "revision", "model_version")]
    plain = {name: table[name].cast(pa.string()) for name in ("item_id", "model_version")}
    order = pc.sort_indices(pa.table({**plain, **{name: table[name] for name in (ITEM_HASH, "revision")}}), sort_keys=names)
    return table.take(order)


def _is_bucketed(table: pa.Table) -> bool:
    """Whether a large table lies in the order of its buckets. Within one the order is that of what was ingested."""
    buckets = _bucket_numbers(table)
    return len(buckets) > BUCKET_ROWS and bool(np.all(buckets[1:] >= buckets[:-1]))


def _bucket_numbers(table: pa.Table) -> NDArray[np.uint64]:
    bits = bucket_bits(table.num_rows)
    hashes = hashes_of(table)
    return hashes >> np.uint64(64 - bits) if bits else np.zeros(len(hashes), np.uint64)


def _buckets(table: pa.Table) -> Iterator[pa.Table]:
    """Row groups: each one range of hashes."""
    numbers = _bucket_numbers(table)
    cuts = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
    for start, end in pairwise([0, *cuts.tolist(), table.num_rows]):
        yield table.slice(start, end - start)


def _is_coded(field: pa.Field) -> bool:
    """Columns of few different values, which are written as codes: so short that compressing them would only cost time."""
    return bool(pa.types.is_dictionary(field.type)) or field.name in _CODED


_CODED = (
    "model_version", "policy_version", "tier", "rule", "rule_values", "purpose", "split", "pool", "scenario", "output",
    "revision", "draw_form", "uniform_rate", "audit_rate", "holdout_draw",
)  # fmt: skip
_COMPRESSED = (*_TEXTS, "scenario")
"""Where a policy's scenarios or outputs are not few after all, they are texts like others."""


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
