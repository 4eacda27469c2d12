"""Labelled or unlabelled rows in JSONL, CSV or Parquet: the good ones beside what is wrong with the others."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hitl_bridge.core.model import JSON, JSONObject, Problem
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.core.task_types.controls import LABEL
from hitl_bridge.errors import UsageError

SUFFIXES = (".jsonl", ".parquet", ".csv")
_NESTED = ("input", "output", "attributes")
_PLAIN = ("text", "image", LABEL)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file. `output` is None where rows need no label."""

    item_id: str
    input: JSONObject
    output: JSONObject | None = None
    scenario: str | None = None
    edge: bool = False
    group: str | None = None
    attributes: JSONObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rows:
    good: tuple[Row, ...]
    problems: tuple[Problem, ...]


def find_file(folder: Path, stem: str) -> Path | None:
    """`stem` with one of the known endings. Raises UsageError if there are two."""
    found = [path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise UsageError(f"{folder.name}/ holds {names}: only one can count.", remedy="Remove the one that is out of date.")
    return found[0] if found else None


def read_rows(path: Path, kind: TaskType, labels: Sequence[str] | None) -> Rows:
    """The rows of a file. With `labels` each row needs an output with one of them; without, outputs are not looked at."""
    good: list[Row] = []
    problems: list[Problem] = []
    seen: set[str] = set()
    for number, raw in enumerate(_raw_rows(path), start=1):
        row = _row(raw, kind, labels) if isinstance(raw, Mapping) else raw
        if isinstance(row, Row) and row.item_id in seen:
            row = "item_id stands in the file twice"
        if isinstance(row, Row):
            seen.add(row.item_id)
            good.append(row)
        else:
            problems.append(Problem(number, row, path.name))
    return Rows(tuple(good), tuple(problems))


def _row(raw: Mapping[str, JSON], kind: TaskType, labels: Sequence[str] | None) -> Row | str:
    """The row, or what is wrong with it."""
    item_id, shown, output = raw.get("item_id"), raw.get("input"), raw.get("output")
    if not isinstance(item_id, str) or not item_id:
        return "item_id must be a text that is not empty"
    if not isinstance(shown, Mapping):
        return "input must be an object"
    problem = kind.input_problem(shown)
    if problem is None and labels is not None:
        problem = _output_problem(output, shown, kind, labels) if isinstance(output, Mapping) else "output must be an object"
    if problem is not None:
        return problem
    attributes = raw.get("attributes")
    return Row(
        item_id=item_id,
        input=shown,
        output=output if isinstance(output, Mapping) else None,
        scenario=_text(raw.get("scenario")),
        edge=raw.get("edge") in (True, "true", "True", "1"),
        group=_text(raw.get("group")),
        attributes=attributes if isinstance(attributes, Mapping) else {},
    )


def _output_problem(output: JSONObject, shown: JSONObject, kind: TaskType, labels: Sequence[str]) -> str | None:
    return kind.output_problem(output, labels) or kind.pair_problem(shown, output)


def _text(value: JSON) -> str | None:
    return None if value is None or value == "" else str(value)


def _raw_rows(path: Path) -> Iterator[Mapping[str, JSON] | str]:
    """Each row as an object, or a sentence on why it can't be read."""
    if not path.is_file():
        raise UsageError(f"There is no file {path.name}.", remedy="Check the path.")
    if path.suffix == ".jsonl":
        yield from map(_json_row, path.read_bytes().splitlines())
    elif path.suffix == ".csv":
        # Bytes that are no UTF-8 survive as surrogates, so that only their own row is refused.
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield from map(_csv_row, csv.DictReader(file))
    elif path.suffix == ".parquet":
        yield from map(_unfolded, _parquet_rows(path))
    else:
        raise UsageError(f"{path.name} is of no known kind.", remedy=f"Known are {', '.join(SUFFIXES)}.")


def _json_row(line: bytes) -> Mapping[str, JSON] | str:
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=_refuse)
    except UnicodeDecodeError:
        return "not valid UTF-8"
    except ValueError:
        return "not valid JSON"
    return _unfolded(row) if isinstance(row, dict) else "not a JSON object"


def _csv_row(row: Mapping[str | None, str | None]) -> Mapping[str, JSON] | str:
    try:
        "".join(value for value in row.values() if isinstance(value, str)).encode("utf-8")
    except UnicodeEncodeError:
        return "not valid UTF-8"
    if None in row:
        return "more fields than the header has"
    return _unfolded({key: value for key, value in row.items() if key is not None})


def _parquet_rows(path: Path) -> Iterator[Mapping[str, JSON]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise UsageError(f"{path.name} is no Parquet file.", remedy="Write it again.") from error
    for batch in table.to_batches():
        yield from batch.to_pylist()


def _unfolded(row: Mapping[str, JSON]) -> Mapping[str, JSON] | str:
    """Nested fields that came as JSON text, and the plain columns `text`, `image` and `label`, in their places."""
    full = dict(row)
    for name in _NESTED:
        value = full.get(name)
        if isinstance(value, str) and value:
            try:
                full[name] = json.loads(value, parse_constant=_refuse)
            except ValueError:
                return f"{name} is not valid JSON"
    for name in _PLAIN:
        where = "output" if name == LABEL else "input"
        if isinstance(full.get(name), str) and not full.get(where):
            full[where] = {name: full[name]}
    return full


def _refuse(constant: str) -> JSON:
    raise ValueError(f"{constant} is no JSON")
