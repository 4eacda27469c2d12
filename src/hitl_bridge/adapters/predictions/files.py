"""Files of predictions: JSONL (plain or gzipped), CSV and Parquet, read in chunks of bounded size.

Parquet is read column by column where its columns allow it (`predictions.lanes`), everything else row by row; both say the same.

A bad row is a `Problem` and never stops the good ones. Only a file that can't be read at all is an error. Rows count
from 1; in a CSV the header is not counted.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import date, datetime
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import pyarrow as pa
import pyarrow.parquet as pq

from hitl_bridge.adapters.predictions.lanes import ParquetLane, ahead, hashes_of, lane_for, record_batches
from hitl_bridge.adapters.predictions.rows import MAX_ROW_BYTES, ChunkBuilder, RowProblem, RowRules, check_row
from hitl_bridge.adapters.predictions.sources import SourceFile, source_files
from hitl_bridge.core.triage.normalise import MAX_DEPTH
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import PredictionChunk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hitl_bridge.core.model import JSON
    from hitl_bridge.core.task_types import TaskType

_CHUNK_BYTES = 64 * 1024 * 1024
_NESTED = ("input", "prediction", "scores", "logits", "attributes")
_NUMBERS = ("confidence", "energy")
_UNREADABLE = (EOFError, gzip.BadGzipFile, zlib.error, OSError)
# An escaped NUL or surrogate: a line without them need not be searched value by value.
_SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
"""What the error handler `surrogateescape` makes of bytes that are not UTF-8."""

Progress: TypeAlias = Callable[[int], None]
"""Called with the number of rows read so far."""


class _RawRow(NamedTuple):
    """A row as it stands in the file: its value, or the reason why it has none. `row` 0 is the whole file."""

    row: int
    value: JSON
    reason: str = ""
    suspect: bool = True
    size: int = 0


def read_predictions(
    source: str | Path,
    task: TaskType,
    labels: Sequence[str],
    key: bytes,
    attributes: Mapping[str, str],
    *,
    with_scores: bool = False,
    chunk_rows: int = 50_000,
    progress: Progress | None = None,
    stdin: IO[bytes] | None = None,
) -> Iterator[PredictionChunk]:
    """Chunks of checked predictions; `source` is a file, a folder, a pattern, an address like `s3://…`, or "-": JSONL on the
    standard input. No chunk holds rows of two files.

    Raises:
        UsageError: before the first chunk, if the (first) file is missing, can't be opened or is of no known format; later
            for another file of a folder.
    """
    rules = RowRules(task, tuple(labels), key, dict(attributes), with_scores)
    if str(source) == "-":
        return _told(_chunks(_jsonl(stdin or sys.stdin.buffer), rules, "-", chunk_rows), progress)
    files = source_files(str(source))
    first = _file_chunks(files[0], rules, chunk_rows)
    rest = (chunk for file in files[1:] for chunk in _file_chunks(file, rules, chunk_rows))
    return _told(chain(first, rest), progress)


def item_hashes(source: str | Path) -> tuple[int, Iterator[NDArray[np.uint64]]] | None:
    """How many rows a source of Parquet files has, and the hashes of all of their items (`core.macs.item_hashes`), in sorted
    pieces. None for sources of other kinds, which can't be looked through without being read."""
    files = [] if str(source) == "-" else source_files(str(source))
    if not files or any(file.suffix != ".parquet" for file in files):
        return None
    try:
        rows = sum(pq.read_metadata(file.arrow()).num_rows for file in files)
    except (*_UNREADABLE, pa.ArrowException):
        return None  # reading it says what is wrong
    return rows, ahead((piece for file in files for piece in hashes_of(file.arrow)), 3)


def _told(chunks: Iterator[PredictionChunk], progress: Progress | None) -> Iterator[PredictionChunk]:
    done = 0
    for chunk in chunks:
        done += chunk.read
        yield chunk
        if progress:
            progress(done)


def _chunks(rows: Iterator[_RawRow], rules: RowRules, name: str, chunk_rows: int) -> Iterator[PredictionChunk]:
    building, size = ChunkBuilder(name), 0
    for raw in rows:
        _add(building, raw, rules)
        size += raw.size
        if building.read >= chunk_rows or size >= _CHUNK_BYTES:
            yield building.chunk()
            building, size = ChunkBuilder(name), 0
    if building.read:
        yield building.chunk()


def _add(building: ChunkBuilder, raw: _RawRow, rules: RowRules) -> None:
    if raw.reason:
        building.refuse(raw.row, raw.reason)
        return
    try:
        building.take(raw.row, check_row(raw.value, rules, suspect=raw.suspect))
    except RowProblem as wrong:
        building.refuse(raw.row, str(wrong))


# ------------------------------------------------------------------------------------------ which format


def _file_chunks(file: SourceFile, rules: RowRules, chunk_rows: int) -> Iterator[PredictionChunk]:
    """Opens the file at once, and reads it as it is asked for chunks."""
    formats: dict[str, Callable[[], Iterator[_RawRow]]] = {
        ".jsonl": lambda: _jsonl(file.open()),
        ".ndjson": lambda: _jsonl(file.open()),
        ".jsonl.gz": lambda: _jsonl(_gzipped(file.open())),
        ".csv": lambda: _csv(file.open(), file.shown),
        ".parquet": lambda: _parquet(file),
    }
    read = formats.get(file.suffix or "")
    if read is None:
        raise UsageError(
            f"{file.shown} is of no known format.", remedy=f"Give a file that ends in {', '.join(formats)}, or - for JSONL."
        )
    try:
        rows = read()
        lane = lane_for(file.arrow, file.name, rules, _records) if file.suffix == ".parquet" else None
    except FileNotFoundError:
        raise UsageError(
            f"There is no file {file.shown}.", remedy="Check the path, or give - to read JSONL from a pipe."
        ) from None
    except (*_UNREADABLE, pa.ArrowException) as unreadable:
        reason = getattr(unreadable, "strerror", None) or str(unreadable).splitlines()[0]
        raise UsageError(
            f"{file.shown} can't be read: {reason}", remedy="Check its permissions and that it was written to its end."
        ) from None
    return _chunks(rows, rules, file.name, chunk_rows) if lane is None else _column_chunks(lane, rows, rules, chunk_rows)


def _column_chunks(lane: ParquetLane, rows: Iterator[_RawRow], rules: RowRules, chunk_rows: int) -> Iterator[PredictionChunk]:
    """Column by column, and what comes behind a place that can't be read, row by row."""
    done = 0
    for chunk in lane.chunks():
        yield chunk
        done += chunk.read
    if done < lane.num_rows:
        yield from _chunks((raw for raw in rows if raw.row > done), rules, lane.name, chunk_rows)


def _gzipped(file: IO[bytes]) -> IO[bytes]:
    stream = gzip.open(file)  # noqa: SIM115 (closed by the reader that it is handed to)
    stream.peek(1)  # a file that is not gzip is noticed here
    return cast("IO[bytes]", stream)


# ------------------------------------------------------------------------------------------------ JSONL


def _jsonl(stream: IO[bytes]) -> Iterator[_RawRow]:
    with closing(stream):
        for number, line in enumerate(_lines(stream), start=1):
            if isinstance(line, str):
                yield _RawRow(number, None, line)
            elif line.strip():
                yield _json_row(number, line)


def _lines(stream: IO[bytes]) -> Iterator[bytes | str]:
    """Each line, or the reason why there is none. A line over the cap is read past in pieces."""
    first = True
    try:
        while line := stream.readline(MAX_ROW_BYTES + 1):
            if len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
                while (rest := stream.readline(MAX_ROW_BYTES)) and not rest.endswith(b"\n"):
                    pass
                yield f"larger than {MAX_ROW_BYTES:,} bytes"
            else:
                yield (line.removeprefix(b"\xef\xbb\xbf") if first else line).rstrip(b"\r\n")
            first = False
    except _UNREADABLE as broken:
        yield f"the file breaks off here ({type(broken).__name__}): the rows before it were read"


def _json_row(number: int, line: bytes) -> _RawRow:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as invalid:
        return _RawRow(number, None, f"invalid UTF-8 at byte {invalid.start + 1}")
    try:
        return _RawRow(number, strict_json(text), "", _is_suspect(text), len(line))
    except RowProblem as wrong:
        return _RawRow(number, None, str(wrong))


def _is_suspect(text: str) -> bool:
    return text.count("[") + text.count("{") > MAX_DEPTH or ("\\u" in text and _SUSPECT.search(text) is not None)


def _unique(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    read = dict(pairs)
    if len(read) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise RowProblem(f"the key {double[:80]!r} stands there twice")
    return read


def _refuse_constant(name: str) -> JSON:
    raise RowProblem(f"{name} is not a number that JSON knows")


def _whole_number(digits: str) -> int:
    if len(digits) > 20 or not -(1 << 63) <= (value := int(digits)) < 1 << 63:
        raise RowProblem("holds a whole number beyond 64 bits")
    return value


_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=_whole_number).decode


def strict_json(text: str) -> JSON:
    """The value of a JSON text. Raises RowProblem where Python's own reader would take the last of two equal keys, NaN,
    or give up with another exception (numbers of thousands of digits, lists in lists without end)."""
    try:
        value: JSON = _decode(text)
    except RowProblem:
        raise
    except json.JSONDecodeError as broken:
        raise RowProblem(f"broken JSON at character {broken.pos + 1}: {broken.msg}") from None
    except RecursionError:
        raise RowProblem(f"nesting deeper than {MAX_DEPTH} levels") from None
    return value


# -------------------------------------------------------------------------------------------------- CSV


def _csv(stream: IO[bytes], path: str) -> Iterator[_RawRow]:
    # Bytes that are not UTF-8 become lone surrogates, which the row then is refused for, by itself.
    text = TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    csv.field_size_limit(MAX_ROW_BYTES)  # of the process; the standard library has no other
    reader = csv.reader(text, strict=True)
    try:
        header = next(reader, [])
    except csv.Error:
        header = []
    if "item_id" not in header:
        text.close()
        raise UsageError(f"{path} has no column item_id in its first line.", remedy="Write the names of the columns there.")
    if len(set(header)) != len(header):
        text.close()
        raise UsageError(f"{path} names a column twice.", remedy="Give each column a name of its own.")
    return _csv_rows(text, reader, header)


def _csv_rows(text: TextIOWrapper, reader: Iterator[list[str]], header: Sequence[str]) -> Iterator[_RawRow]:
    number = 0
    with closing(text):
        while True:
            number += 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as broken:
                yield _RawRow(number, None, f"broken CSV: {broken}")
                continue
            if not fields:
                number -= 1
                continue
            yield _csv_row(number, header, fields)


def _csv_row(number: int, header: Sequence[str], fields: Sequence[str]) -> _RawRow:
    if len(fields) != len(header):
        return _RawRow(number, None, f"{len(fields)} fields where the header has {len(header)}")
    size = sum(map(len, fields))
    if size > MAX_ROW_BYTES:
        return _RawRow(number, None, f"larger than {MAX_ROW_BYTES:,} bytes")
    try:
        value = {name: _csv_value(name, text) for name, text in zip(header, fields, strict=True) if text != ""}
    except RowProblem as wrong:
        return _RawRow(number, None, str(wrong))
    return _RawRow(number, value, size=size)


def _csv_value(name: str, text: str) -> JSON:
    if _NOT_UTF8.search(text):
        raise RowProblem(f"{name}: invalid UTF-8")
    if name in _NESTED:
        return _nested(name, text)
    if name in _NUMBERS:
        try:
            return float(text)
        except ValueError:
            raise RowProblem(f"{name}: not a number") from None
    return text


def _nested(name: str, text: str) -> JSON:
    try:
        return strict_json(text)
    except RowProblem as wrong:
        raise RowProblem(f"{name}: {wrong}") from None


# ---------------------------------------------------------------------------------------------- Parquet


def _parquet(source: SourceFile) -> Iterator[_RawRow]:
    file = pq.ParquetFile(source.arrow())
    if "item_id" not in file.schema_arrow.names:
        file.close()
        raise UsageError(f"{source.shown} has no column item_id.", remedy="Name the columns as the fields of a prediction.")
    return _parquet_rows(file)


def _parquet_rows(file: Any) -> Iterator[_RawRow]:
    number = 0
    with closing(file):
        try:
            for batch in record_batches(file, 1_000):
                for values in _records(batch):
                    number += 1
                    yield values._replace(row=number)
        except (OSError, pa.ArrowException) as broken:
            yield _RawRow(number + 1, None, f"the file breaks off here ({type(broken).__name__}): the rows before it were read")


def _records(batch: Any) -> Iterator[_RawRow]:
    names = batch.schema.names
    size = batch.nbytes // max(1, batch.num_rows)
    for at in range(batch.num_rows):
        try:
            value = {name: _from_arrow(name, batch.column(place)[at].as_py()) for place, name in enumerate(names)}
        except UnicodeDecodeError:
            yield _RawRow(0, None, "invalid UTF-8")
        except RowProblem as wrong:
            yield _RawRow(0, None, str(wrong))
        else:
            yield _RawRow(0, value, size=size)


def _from_arrow(name: str, value: Any) -> JSON:
    """A nested field may be a struct, a map, or JSON text. What a struct lacks is null in Parquet: it is left out."""
    if name in _NESTED and isinstance(value, str):
        return _nested(name, value)
    if name in _NESTED and isinstance(value, list):  # a map's pairs
        value = _unique(value) if all(isinstance(pair, tuple) for pair in value) else value
    if name in _NESTED and isinstance(value, dict):
        return {inner: each for inner, each in value.items() if each is not None}
    if isinstance(value, datetime | date):
        return value.isoformat()
    result: JSON = value
    return result
