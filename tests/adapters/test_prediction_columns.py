"""Column by column or row by row: the same verdicts, the same predictions, the same receipts."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitl_bridge.adapters.arrow_json import objects_as_json
from hitl_bridge.adapters.predictions import columns
from hitl_bridge.adapters.predictions.files import item_hashes, read_predictions
from hitl_bridge.adapters.predictions.lanes import record_batches
from hitl_bridge.adapters.predictions.rows import RowRules
from hitl_bridge.adapters.triage_engine.duckdb import DuckDbTriage
from hitl_bridge.core import macs
from hitl_bridge.core.task_types import task_type
from hitl_bridge.core.triage.calibration import Calibration
from hitl_bridge.core.triage.normalise import canonical
from hitl_bridge.core.triage.plan import Rule, TierBound, TriagePlan
from hitl_bridge.ports import PredictionChunk

TASK = task_type("text-classification")
LABELS = ("refund", "billing", "cancel")
KEY = b"k" * 32
ATTRIBUTES = {"amount": "float", "language": "string", "count": "integer", "vip": "boolean"}
RULES = (Rule("amount > 100", "comprehensive", "much"), Rule("vip OR language = 'de'", "quick", "who"))
PLAN = TriagePlan(
    "p1",
    (TierBound("auto", 0.2), TierBound("quick", 0.5), TierBound("comprehensive", 1.0)),
    rules=RULES,
    attributes=ATTRIBUTES,
    audit_rate=0.3,
    uniform_rate=0.2,
    calibrations={"m1": Calibration("m1", "temperature", (1.7,))},
)

# fmt: off
_odd_texts = st.sampled_from([
    "", " ", "\t\n", "plain words", "\u00a0", "\u2003", "é", "日本", "😀", 'quo"te', "back\\slash", "new\nline",
    "nul\0", "\x1f", "\x7f", "\x85", "x" * 201, "é" * 200, "é" * 201, "\u2028", "{,", "null",
])
# fmt: on
_texts = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=8), _odd_texts)
_numbers = st.one_of(
    st.none(),
    st.floats(0, 1),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1.0, 1e-5, 5e-324, 1.0000000000000002, -1e-9, math.nan, math.inf, 1e9, 123456789.25, 1e16, 65.0]),
)
_label = st.sampled_from([*LABELS, None, "nonsense", ""])
_names = st.one_of(st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=6), _texts)
_instants = st.one_of(
    st.none(),
    st.sampled_from(
        ["2026-11-22T10:00:00Z", "2026-02-30T10:00:00Z", "2024-02-29T10:00:00", "yesterday", "2026-11-22", "2026-11-31T00:00:00"]
    ),
)


@st.composite
def _rows(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "item_id": draw(_names),
        "model_version": draw(st.one_of(st.sampled_from(["m1", "m2"]), _names)),
        "input": draw(st.one_of(st.fixed_dictionaries({"text": _texts, "other": _texts}), st.none())),
        "prediction": draw(st.one_of(st.fixed_dictionaries({"label": _label}), st.none())),
        "scores": draw(st.one_of(st.none(), st.fixed_dictionaries(dict.fromkeys((*LABELS, "unknown"), _numbers)))),
        "confidence": draw(_numbers),
        "scenario": draw(_texts),
        "attributes": draw(
            st.one_of(
                st.none(),
                st.fixed_dictionaries(
                    {
                        "amount": _numbers,
                        "language": _texts,
                        "count": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
                        "vip": st.one_of(st.none(), st.booleans()),
                        "note": _texts,
                    }
                ),
            )
        ),
        "predicted_at": draw(_instants),
        "beside": draw(_numbers),
        "remark": draw(_texts),
    }


@st.composite
def _mostly_good(draw: st.DrawFn) -> dict[str, Any]:
    """A row that is right but for a field or two."""
    row: dict[str, Any] = {
        "item_id": draw(st.sampled_from([f"t-{number}" for number in range(30)])),
        "model_version": draw(st.sampled_from(["m1", "m2"])),
        "input": {
            "text": draw(st.sampled_from(["some words", "é", 'with "quotes"\n'])),
            "other": draw(st.sampled_from([None, "x"])),
        },
        "prediction": {"label": draw(st.sampled_from(LABELS))},
        "scores": {label: draw(st.sampled_from([None, 0.5, 0.25, 1 / 3, 1e-7])) for label in LABELS} | {"unknown": None},
        "confidence": draw(st.sampled_from([0.95, 0.7, 0.1, 1.0])),
        "scenario": draw(st.sampled_from([None, "payments"])),
        "attributes": {
            "amount": draw(st.sampled_from([None, 5.0, 1234.5, 1e-7])),
            "language": "de",
            "count": 1,
            "vip": None,
            "note": None,
        },
        "predicted_at": "2026-11-22T10:00:00Z",
        "beside": 1.5,
        "remark": "ok",
    }
    broken = draw(_rows())
    for name in draw(st.lists(st.sampled_from(list(row)), max_size=1)):
        row[name] = broken[name]
    return row


def _struct(**kinds: pa.DataType) -> pa.DataType:
    return pa.struct(list(kinds.items()))


_TEXT, _NUMBER = pa.string(), pa.float64()
SCHEMA = pa.schema(
    {
        "item_id": _TEXT,
        "model_version": _TEXT,
        "input": _struct(text=_TEXT, other=_TEXT),
        "prediction": _struct(label=_TEXT),
        "scores": _struct(**dict.fromkeys((*LABELS, "unknown"), _NUMBER)),
        "confidence": _NUMBER,
        "scenario": _TEXT,
        "attributes": _struct(amount=_NUMBER, language=_TEXT, count=pa.int64(), vip=pa.bool_(), note=_TEXT),
        "predicted_at": _TEXT,
        "beside": _NUMBER,
        "remark": _TEXT,
    }
)


def _read(table: pa.Table, *, row_by_row: bool = False, key: bytes = KEY) -> PredictionChunk:
    """One chunk of it all. A column `energy` makes every reader look at each row by itself, and says nothing where it is null."""
    if row_by_row:
        table = table.append_column("energy", pa.nulls(table.num_rows, _NUMBER))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "in.parquet"
        pq.write_table(table, path)
        chunks = list(read_predictions(path, TASK, LABELS, key, ATTRIBUTES, with_scores=True))
    assert len(chunks) == 1
    assert (chunks[0].whole is None) == row_by_row
    return chunks[0]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Values that can be compared: digests as text, NaN as nothing."""
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}


def _same(table: pa.Table) -> None:
    fast, slow = _read(table), _read(table, row_by_row=True)
    assert [(each.row, each.reason, each.file) for each in fast.problems] == [
        (each.row, each.reason, each.file) for each in slow.problems
    ]
    rows = slow.predictions.to_pylist()
    assert fast.whole is not None
    assert fast.whole([row["row"] for row in rows]).to_pylist() == rows
    narrow = fast.predictions.sort_by("row")
    common = [name for name in slow.predictions.column_names if name in narrow.column_names]
    assert [_shown(row) for row in narrow.select(common).to_pylist()] == slow.predictions.select(common).to_pylist()
    assert narrow["item_hash"].to_pylist() == [macs.item_hash(row["item_id"]) for row in rows]
    for name in ATTRIBUTES:
        assert narrow[f"attribute:{name}"].to_pylist() == [json.loads(row["attributes"]).get(name) for row in rows]
    assert [_shown(row) for row in DuckDbTriage().triage(narrow, PLAN, KEY).to_pylist()] == DuckDbTriage().triage(
        slow.predictions, PLAN, KEY
    ).to_pylist()


_settings = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@_settings
@given(st.lists(_mostly_good(), min_size=1, max_size=30))
def test_rows_that_are_nearly_right_are_judged_alike(rows: Sequence[dict[str, Any]]) -> None:
    _same(pa.Table.from_pylist(list(rows), schema=SCHEMA))


@_settings
@given(st.lists(_rows(), min_size=1, max_size=20))
def test_rows_of_anything_are_judged_alike(rows: Sequence[dict[str, Any]]) -> None:
    _same(pa.Table.from_pylist(list(rows), schema=SCHEMA))


def _good(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "item_id": f"t-{number}",
        "model_version": "m1",
        "input": {"text": f'words "{number}" €'},
        "prediction": {"label": LABELS[number % 3]},
        "scores": {"refund": 0.5, "billing": 0.25, "cancel": 0.25},
        "confidence": 0.5,
        "scenario": None,
        "attributes": {"amount": number / 7, "language": "en"},
        "predicted_at": datetime(2026, 11, 22, 10, number % 60, tzinfo=UTC),
    }
    return row | changes


def test_right_rows_are_all_taken_column_by_column() -> None:
    table = pa.Table.from_pylist([_good(number) for number in range(500)])
    rules = RowRules(TASK, LABELS, KEY, ATTRIBUTES)
    assert columns.takes(table.schema, rules)
    checked = columns.check_columns(table, rules)
    assert (checked.good.num_rows, len(checked.odd)) == (500, 0)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("predicted_at", pa.timestamp("s")),
        ("predicted_at", pa.timestamp("us")),
        ("predicted_at", pa.timestamp("ms", "UTC")),
        ("confidence", pa.float32()),
        ("item_id", pa.large_string()),
        ("scenario", pa.dictionary(pa.int8(), pa.string())),
        ("model_version", pa.dictionary(pa.int32(), pa.string())),
    ],
)
def test_other_kinds_of_columns_are_read_alike(column: str, kind: pa.DataType) -> None:
    rows = [_good(number, scenario=f"s{number % 3}", item_id="" if number == 7 else f"t-{number}") for number in range(40)]
    table = pa.Table.from_pylist(rows)
    place = table.column_names.index(column)
    plain = table[column].cast(pa.timestamp("us")) if column == "predicted_at" else table[column]
    _plainly_same(table.set_column(place, column, plain.cast(kind)))


@pytest.mark.parametrize(
    "extra",
    [
        pa.array([0.5, math.nan, None] * 10),
        pa.array([[0.5, 1.0], [math.inf], None] * 10),
        pa.array(["ok", "nul\0", None] * 10),
        pa.array([1, 2**40, None] * 10),
        pa.array([b"bytes", None, b""] * 10),
        pa.array([datetime(2026, 1, 1), None, datetime(1, 1, 1)] * 10, pa.timestamp("us")),
        pa.array([{"a": 1.0}, None, {"a": math.nan}] * 10),
        pa.array([2**64 - 1, 1, None] * 10, pa.uint64()),
    ],
)
def test_what_stands_beside_a_prediction_is_looked_at_alike(extra: pa.Array) -> None:
    _plainly_same(pa.Table.from_pylist([_good(number) for number in range(30)]).append_column("extra", extra))


def _plainly_same(table: pa.Table) -> None:
    """The same predictions and problems, in whatever lane."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "in.parquet"
        pq.write_table(table, path)
        (chunk,) = read_predictions(path, TASK, LABELS, KEY, ATTRIBUTES)
    slow = _read(table, row_by_row=True)
    whole = chunk.predictions if chunk.whole is None else chunk.whole(sorted(chunk.predictions["row"].to_pylist()))
    assert whole.to_pylist() == slow.predictions.to_pylist()
    assert chunk.problems == slow.problems


def test_a_text_that_is_no_utf8_makes_one_row_a_problem() -> None:
    table = pa.Table.from_pylist([_good(number) for number in range(3000)])
    ids = table["item_id"].combine_chunks()
    damaged = bytearray(ids.buffers()[2].to_pybytes())
    damaged[damaged.find(b"t-1500")] = 0xFF
    broken = pa.StringArray.from_buffers(len(ids), ids.buffers()[1], pa.py_buffer(bytes(damaged)))
    _plainly_same(table.set_column(table.column_names.index("item_id"), "item_id", broken))


def test_items_that_leave_out_scores_in_many_ways_are_read_alike() -> None:
    labels = [f"l{number}" for number in range(8)]
    rows = [
        _good(number, prediction={"label": "l0"}, scores={label: 0.1 for at, label in enumerate(labels) if number >> at & 1})
        for number in range(256)
    ]
    table = pa.Table.from_pylist(rows)
    rules = RowRules(TASK, tuple(labels), KEY, ATTRIBUTES)
    checked = columns.check_columns(table, rules)
    assert len(checked.odd) == 240
    with TemporaryDirectory() as folder:
        pq.write_table(table, Path(folder) / "in.parquet")
        (fast,) = read_predictions(Path(folder) / "in.parquet", TASK, labels, KEY, ATTRIBUTES)
        pq.write_table(table.append_column("energy", pa.nulls(256, _NUMBER)), Path(folder) / "in.parquet")
        (slow,) = read_predictions(Path(folder) / "in.parquet", TASK, labels, KEY, ATTRIBUTES)
    told = fast.predictions.sort_by("row")["content_digest"]
    assert [each.hex() for each in told.to_pylist()] == slow.predictions["content_digest"].to_pylist()


@pytest.mark.parametrize("change", [{"logits": pa.float64()}, {"scores": pa.string()}, {"confidence": pa.string()}])
def test_columns_of_other_kinds_are_left_to_the_other_lane(change: dict[str, pa.DataType]) -> None:
    schema = pa.schema([field for field in SCHEMA if field.name not in change] + list(change.items()))
    assert not columns.takes(schema, RowRules(TASK, LABELS, KEY, ATTRIBUTES))


def test_a_file_that_breaks_off_loses_no_row_that_can_be_read(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([_good(number) for number in range(4000)])
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=1000, compression="none")
    place = pq.ParquetFile(tmp_path / "in.parquet").metadata.row_group(2).column(0).data_page_offset
    damaged = bytearray((tmp_path / "in.parquet").read_bytes())
    damaged[place : place + 8] = b"\xff" * 8
    (tmp_path / "in.parquet").write_bytes(damaged)
    chunks = list(read_predictions(tmp_path / "in.parquet", TASK, LABELS, KEY, ATTRIBUTES))
    problems = [problem for chunk in chunks for problem in chunk.problems]
    assert sum(chunk.predictions.num_rows for chunk in chunks) == 2000
    assert [(problem.row, "breaks off" in problem.reason) for problem in problems] == [(2001, True)]


def test_the_hashes_of_all_items_are_told_beforehand(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([_good(number) for number in range(100)]), tmp_path / "in.parquet")
    found = item_hashes(tmp_path / "in.parquet")
    assert found is not None
    assert found[0] == 100
    assert np.concatenate(list(found[1])).tolist() == sorted(macs.item_hash(f"t-{number}") for number in range(100))
    assert item_hashes("-") is None


_values = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**15), 10**15).map(float))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.fixed_dictionaries({"b": _values, "a": _texts, "Z": st.one_of(st.none(), st.booleans())}), max_size=20))
def test_objects_are_written_byte_for_byte_as_row_by_row(rows: list[dict[str, Any]]) -> None:
    column = pa.array(rows, _struct(b=_NUMBER, a=_TEXT, Z=pa.bool_()))
    written = objects_as_json(["b", "a", "Z"], column.flatten(), len(rows)).to_pylist()
    assert written == [canonical({name: value for name, value in row.items() if value is not None}) for row in rows]


def test_what_was_read_of_a_file_is_not_kept_until_its_end(tmp_path: Path) -> None:
    groups, rows, width = 10, 200, 10_000
    texts = pa.array([os.urandom(width // 2).hex() for _ in range(groups * rows)])
    pq.write_table(
        pa.table({"text": texts}), tmp_path / "in.parquet", row_group_size=rows, compression="none", use_dictionary=False
    )
    before, most = pa.total_allocated_bytes(), 0
    with pq.ParquetFile(tmp_path / "in.parquet") as file:
        batches = record_batches(file, rows)
        read = 0
        for batch in batches:
            read += batch.num_rows
            most = max(most, pa.total_allocated_bytes() - before)
    assert read == groups * rows
    assert most < 4 * rows * width


def test_small_row_groups_are_read_together(tmp_path: Path) -> None:
    pq.write_table(pa.table({"item_id": [str(number) for number in range(100)]}), tmp_path / "in.parquet", row_group_size=7)
    with pq.ParquetFile(tmp_path / "in.parquet") as file:
        assert [batch.num_rows for batch in record_batches(file, 30)] == [30, 5, 30, 5, 30]
