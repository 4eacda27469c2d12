"""Parquet files of predictions, read column by column (`predictions.columns`) as long as that is possible.

What it reads ahead of whoever takes the chunks runs in a thread of its own: checking one part of a file while the one before it
is triaged.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hitl_bridge.adapters.arrow_json import is_text
from hitl_bridge.adapters.predictions.columns import check_columns, takes
from hitl_bridge.adapters.predictions.rows import CheckedRow, RowProblem, RowRules, check_row, table_of
from hitl_bridge.core import macs
from hitl_bridge.core.model import Problem
from hitl_bridge.core.triage.arrivals import by_item
from hitl_bridge.ports import PredictionChunk

if TYPE_CHECKING:
    from hitl_bridge.core.model import JSON

_T = TypeVar("_T")

_ROWS = 65_536
_BYTES = 64 * 1024 * 1024
_FEWEST = 1_000
_WORKERS, _AHEAD = 2, 3
"""Parts that are checked at the same time, and how many are read, and then checked, before they are asked for."""

_CODED = ("model_version", "scenario")
_UNREADABLE = (OSError, pa.ArrowException)

Opener = Callable[[], Any]
"""Opens the file anew: a local path, or an Arrow file of some other file system."""

Records = Callable[[Any], Iterable[Any]]
"""The rows of a record batch as they are checked one by one: each has `value` and `reason`."""


@dataclass(frozen=True, slots=True)
class ParquetLane:
    """A Parquet file whose columns `predictions.columns.takes`. `name` stands in problems, `num_rows` in its footer."""

    open_file: Opener
    name: str
    rules: RowRules
    records: Records
    num_rows: int

    def chunks(self) -> Iterator[PredictionChunk]:
        """The file in parts. Ends early, and without a word, where the file can't be read on."""
        yield from in_turn(self._checks(), _WORKERS, _AHEAD)

    def _checks(self) -> Iterator[Callable[[], PredictionChunk]]:
        done = 0
        for part in ahead(self._parts(), _AHEAD):
            yield _Part(part, done, self).chunk
            done += part.num_rows

    def _parts(self) -> Iterator[pa.Table]:
        with _opened(self.open_file) as file:
            try:
                for batch in record_batches(file, _part_rows(file)):
                    yield pa.Table.from_batches([batch])
            except _UNREADABLE:
                return


def lane_for(open_file: Opener, name: str, rules: RowRules, records: Records) -> ParquetLane | None:
    """None if the file has columns that must be looked at row by row."""
    with pq.ParquetFile(open_file()) as file:
        fits, rows = takes(file.schema_arrow, rules), file.metadata.num_rows
    return ParquetLane(open_file, name, rules, records, rows) if fits else None


def hashes_of(open_file: Opener) -> Iterator[NDArray[np.uint64]]:
    """The hashes of all items in a file, without reading anything but their ids; each piece sorted."""
    with pq.ParquetFile(open_file()) as file:
        batches = record_batches(file, _ROWS, columns=["item_id"])
        yield from in_turn((partial(_hashes, batch.column(0)) for batch in batches), _WORKERS, _AHEAD)


def _hashes(ids: pa.Array) -> NDArray[np.uint64]:
    if ids.null_count or not is_text(ids.type):
        ids = pa.array([each if isinstance(each, str) else "" for each in ids.to_pylist()], pa.string())
    hashes = macs.item_hashes(ids.cast(pa.string()))
    hashes.sort()
    return hashes


def record_batches(file: pq.ParquetFile, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The file in batches of up to `rows` rows, in the thread that asks.

    Arrow keeps whatever it has read until the row groups that it was asked for are through: asked for all of them, the whole
    file. So it is asked for a few at a time.
    """
    for groups in _runs(file.metadata, rows):
        yield from file.iter_batches(batch_size=rows, row_groups=groups, columns=columns, use_threads=False)


def _runs(metadata: pq.FileMetaData, rows: int) -> Iterator[list[int]]:
    """Row groups, as many at a time as have `rows` rows together."""
    run: list[int] = []
    held = 0
    for group in range(metadata.num_row_groups):
        run.append(group)
        held += metadata.row_group(group).num_rows
        if held >= rows:
            yield run
            run, held = [], 0
    if run:
        yield run


def _opened(open_file: Opener) -> pq.ParquetFile:
    with pq.ParquetFile(open_file()) as file:
        coded = [name for name in _CODED if name in file.schema_arrow.names and is_text(file.schema_arrow.field(name).type)]
    return pq.ParquetFile(open_file(), read_dictionary=coded)


def _part_rows(file: pq.ParquetFile) -> int:
    """So many that they are about `_BYTES`."""
    metadata = file.metadata
    size: int = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    each = max(1, size // max(1, int(metadata.num_rows)))
    return max(_FEWEST, min(_ROWS, _BYTES // each))


# -------------------------------------------------------------------------------------------------------- a part


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows of a file, and how many there were before them."""

    rows: pa.Table
    before: int
    lane: ParquetLane

    def chunk(self) -> PredictionChunk:
        checked = check_columns(self.rows, self.lane.rules)
        taken, problems = self._one_by_one(checked.odd, sound=checked.sound)
        good = _numbered(checked.good, self.before)
        if taken:
            good = pa.concat_tables([good, _like(good, taken, self.lane.rules)]).unify_dictionaries()
        return PredictionChunk(
            by_item(good), tuple(problems), self.rows.num_rows, self.lane.name, partial(self.whole, sound=checked.sound)
        )

    def whole(self, numbers: Sequence[int], *, sound: bool) -> pa.Table:
        """The good rows with these numbers, with all columns; others than this part's are passed over."""
        places = [number - self.before - 1 for number in numbers if 0 < number - self.before <= self.rows.num_rows]
        taken, _ = self._one_by_one(np.asarray(places, np.int64), sound=sound)
        return table_of([row for _, row in taken], [number for number, _ in taken])

    def _one_by_one(self, places: NDArray[np.int64], *, sound: bool) -> tuple[list[tuple[int, CheckedRow]], list[Problem]]:
        taken, problems = [], []
        for place, raw in zip(places.tolist(), self._raw(places, sound=sound), strict=True):
            number = self.before + place + 1
            try:
                if raw.reason:
                    raise RowProblem(raw.reason)
                taken.append((number, check_row(raw.value, self.lane.rules)))
            except RowProblem as wrong:
                problems.append(Problem(row=number, reason=str(wrong), file=self.lane.name))
        return taken, problems

    def _raw(self, places: NDArray[np.int64], *, sound: bool) -> Iterator[Any]:
        """Those rows as they stand in the file. A text that is no UTF-8 must not go through Arrow's functions."""
        if not len(places):
            return
        some = [self.rows.take(pa.array(places))] if sound else [self.rows.slice(place, 1) for place in places.tolist()]
        for part in some:
            for batch in part.combine_chunks().to_batches():
                yield from self.lane.records(batch)


def _numbered(good: pa.Table, before: int) -> pa.Table:
    numbers = pa.array(np.asarray(good["place"]) + (before + 1))
    return good.drop_columns(["place"]).append_column("row", numbers)


def _like(good: pa.Table, taken: Sequence[tuple[int, CheckedRow]], rules: RowRules) -> pa.Table:
    """Rows that were checked one by one, in the columns of those that were not."""
    rows = [row for _, row in taken]
    whole = table_of(rows, [number for number, _ in taken])
    columns = {name: whole[name] for name in whole.column_names}
    for name in ("input_digest", "content_digest"):
        columns[name] = pa.array([bytes.fromhex(text) for text in whole[name].to_pylist()], pa.binary(macs.SIZE))
    columns["item_hash"] = pa.array(macs.item_hashes(pa.array([row.item_id for row in rows], pa.string())))
    columns["predicted_at"] = _instants([row.predicted_at for row in rows], good.schema.field("predicted_at").type)
    columns |= _attributes([row.attributes for row in rows], good, rules)
    columns |= _scores(rows)
    return pa.table({field.name: _cast(columns[field.name], field.type) for field in good.schema})


def _cast(column: Any, kind: pa.DataType) -> Any:
    return column.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else column.cast(kind)


def _instants(texts: Sequence[str | None], kind: pa.DataType) -> pa.Array:
    if is_text(kind) or pa.types.is_null(kind):
        return pa.array(texts, kind)
    return pa.array([None if text is None else datetime.fromisoformat(text) for text in texts], kind)


def _attributes(texts: Sequence[str], good: pa.Table, rules: RowRules) -> Mapping[str, pa.Array]:
    objects: list[Mapping[str, JSON]] = [json.loads(text) for text in texts]
    typed = [name for name in rules.kinds if f"attribute:{name}" in good.column_names]
    return {
        f"attribute:{name}": pa.array([each.get(name) for each in objects], good.schema.field(f"attribute:{name}").type)
        for name in typed
    }


def _scores(rows: Sequence[CheckedRow]) -> Mapping[str, pa.Array]:
    lists = [[row.score_values[label] for label in sorted(row.score_values)] for row in rows]
    own = [row.score_values.get(row.label or "") for row in rows]
    return {"__score_list": pa.array(lists, pa.list_(pa.float64())), "__own_score": pa.array(own, pa.float64())}


# --------------------------------------------------------------------------------------------------------- ahead


def ahead(items: Iterator[_T], depth: int) -> Iterator[_T]:
    """The same items, made by another thread, up to `depth` of them before they are asked for."""
    end = object()

    def one() -> Any:
        return next(items, end)

    with ThreadPoolExecutor(1) as worker:
        waiting: deque[Future[Any]] = deque(worker.submit(one) for _ in range(depth))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(worker.submit(one))
                yield item
        finally:
            for each in waiting:
                each.cancel()


def in_turn(works: Iterator[Callable[[], _T]], workers: int, depth: int) -> Generator[_T]:
    """What each of them gives, in their order; up to `depth` are begun before they are asked for."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[_T]] = deque()
        try:
            for work in works:
                waiting.append(pool.submit(work))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()
