"""What comes in: good rows are never stopped, bad ones are named by their row, and only a file as a whole is an error."""

from __future__ import annotations

import csv
import gzip
import io
import json
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hitl_bridge.adapters.predictions.files import read_predictions
from hitl_bridge.adapters.predictions.rows import MAX_ROW_BYTES, RowRules, check_predictions
from hitl_bridge.core.task_types import task_type
from hitl_bridge.core.triage.columns import PREDICTIONS
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import PredictionChunk

TASK = task_type("text-classification")
LABELS = ("refund", "billing", "cancel")
KEY = b"k" * 32
ATTRIBUTES = {"amount": "float", "language": "string"}
GOOD: Mapping[str, Any] = {
    "item_id": "t-0017",
    "input": {"text": "I was charged twice"},
    "prediction": {"label": "refund"},
    "scores": {"refund": 0.51, "billing": 0.42, "cancel": 0.07},
    "confidence": 0.5,
    "model_version": "intent-3",
    "scenario": "payments",
    "attributes": {"amount": 12000, "language": "en", "shop": 3},
    "predicted_at": "2026-11-22T10:00:00Z",
}


def _read(source: Path | str, **options: Any) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """The good rows, and row and reason of the bad ones."""
    chunks = list(read_predictions(source, TASK, LABELS, KEY, ATTRIBUTES, **options))
    assert sum(chunk.read for chunk in chunks) == sum(chunk.predictions.num_rows + len(chunk.problems) for chunk in chunks)
    rows = [row for chunk in chunks for row in _whole(chunk).to_pylist()]
    return rows, [(problem.row, problem.reason) for chunk in chunks for problem in chunk.problems]


def _whole(chunk: PredictionChunk) -> pa.Table:
    """All columns of the good rows, in the order of the file."""
    return chunk.predictions if chunk.whole is None else chunk.whole(sorted(chunk.predictions["row"].to_pylist()))


def _jsonl(folder: Path, *lines: bytes | Mapping[str, Any]) -> Path:
    path = folder / "predictions.jsonl"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return path


def _csv(folder: Path, *rows: Mapping[str, Any]) -> Path:
    path = folder / "predictions.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(GOOD))
        writer.writeheader()
        for row in rows:
            writer.writerow({name: json.dumps(value) if isinstance(value, dict) else value for name, value in row.items()})
    return path


def _parquet(folder: Path, *rows: Mapping[str, Any]) -> Path:
    path = folder / "predictions.parquet"
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def _parquet_of_texts(folder: Path, *rows: Mapping[str, Any]) -> Path:
    """Nested fields as JSON text: a column of Parquet holds one type only."""
    nested = [{name: json.dumps(value) if isinstance(value, dict) else value for name, value in row.items()} for row in rows]
    return _parquet(folder, *nested)


WRITERS = [_jsonl, _csv, _parquet, _parquet_of_texts]


def _without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name not in names}


@pytest.mark.parametrize("write", WRITERS)
def test_the_same_prediction_is_the_same_row_in_every_format(write: Any, tmp_path: Path) -> None:
    rows, problems = _read(write(tmp_path, GOOD))
    assert problems == []
    assert list(rows[0]) == list(PREDICTIONS)
    expected = check_predictions([dict(GOOD)], RowRules(TASK, LABELS, KEY, ATTRIBUTES)).predictions.to_pylist()
    assert rows == expected
    row = rows[0]
    assert (row["item_id"], row["label"], row["confidence"], row["row"]) == ("t-0017", "refund", 0.5, 1)
    assert json.loads(row["attributes"]) == {"amount": 12000.0, "language": "en", "shop": 3}
    assert row["margin"] == pytest.approx(0.09)
    assert "charged" not in row["input_digest"] + row["content_digest"]


def _bad(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


BAD_VALUES: Sequence[tuple[dict[str, Any], str]] = [
    (_bad(item_id="x" * 201), "item_id: string should have at most 200 characters"),
    (_bad(item_id=""), "item_id"),
    (_bad(scores={"refund": 1.2}), "scores.refund: input should be less than or equal to 1"),
    (_bad(scores={"refund": -0.1}), "scores.refund"),
    (_bad(scores={"refund": 0.5, "nonsense": 0.5}), "scores: unknown label 'nonsense'"),
    (_bad(prediction={"label": "nonsense"}), "unknown label 'nonsense'"),
    (_bad(input={"text": "  "}), "input.text must be a text that is not empty"),
    (_bad(attributes={"amount": "12000"}), "attributes.amount: must be a finite number"),
    (_bad(predicted_at="yesterday"), "predicted_at"),
    (_without("model_version"), "model_version"),
    (_without("input"), "input"),
    (_without("prediction"), "prediction"),
    (_without("item_id"), "item_id"),
    (_without("scores", "confidence"), "scores or confidence is required"),
    (_bad(scores={"billing": 0.4}, confidence=None), "scores: the predicted label has none"),
    (_bad(confidence=1.01), "confidence: input should be less than or equal to 1"),
    (_bad(item_id="a\x1fb"), "control characters"),
]


@pytest.mark.parametrize("write", [_jsonl, _csv, _parquet_of_texts])
def test_a_row_with_a_wrong_value_is_listed_and_the_good_rows_go_on(write: Any, tmp_path: Path) -> None:
    for wrong, reason in BAD_VALUES:
        rows, problems = _read(write(tmp_path, GOOD, wrong, _bad(item_id="t-2")))
        assert [row["item_id"] for row in rows] == ["t-0017", "t-2"], reason
        assert problems[0][0] == 2
        assert reason in problems[0][1]


BAD_LINES: Sequence[tuple[bytes, str]] = [
    (b'{"item_id": "a', "broken JSON at character 13"),
    (b"[1]", "not a JSON object"),
    (b'"text"', "not a JSON object"),
    (b'{"item_id": "\xff"}', "invalid UTF-8 at byte 14"),
    (json.dumps(GOOD).replace("0.51", "NaN").encode(), "NaN is not a number"),
    (json.dumps(GOOD).replace("0.51", "-Infinity").encode(), "-Infinity is not a number"),
    (json.dumps(GOOD).replace("0.51", "1e999").encode(), "scores.refund"),
    (json.dumps(GOOD).replace('"item_id"', '"item_id": "first", "item_id"').encode(), "'item_id' stands there twice"),
    (json.dumps(GOOD).replace('"shop": 3', '"shop": 3, "shop": 4').encode(), "'shop' stands there twice"),
    (json.dumps(_bad(input={"text": "a\0b"})).encode(), "a NUL character"),
    (json.dumps(_bad(input={"text": "a\ud800b"})).encode(), "a lone surrogate"),
    (json.dumps(GOOD).replace('"shop": 3', '"shop": ' + "9" * 19).encode(), "beyond 64 bits"),
    (json.dumps(GOOD).replace('"shop": 3', '"shop": ' + "9" * 5000).encode(), "beyond 64 bits"),
    (json.dumps(GOOD).replace('"shop": 3', '"shop": ' + "[" * 100 + "]" * 100).encode(), "nesting deeper than"),
    (b"[" * 100_000, "nesting deeper than"),
    (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "broken JSON"),  # a BOM in the middle of a file
]


@pytest.mark.catalogue("A8")
@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
def test_a_corrupt_line_is_listed_and_the_good_rows_go_on(line: bytes, reason: str, tmp_path: Path) -> None:
    rows, problems = _read(_jsonl(tmp_path, GOOD, line, _bad(item_id="t-2")))
    assert [row["item_id"] for row in rows] == ["t-0017", "t-2"]
    assert problems[0][0] == 2
    assert reason in problems[0][1]


def test_letters_outside_ascii_are_kept_however_they_are_escaped(tmp_path: Path) -> None:
    row = _bad(input={"text": "Grüße 漢字 🙂"})
    rows, problems = _read(_jsonl(tmp_path, row, json.dumps(row, ensure_ascii=False).encode()))
    assert problems == []
    assert rows[0]["input_digest"] == rows[1]["input_digest"]
    assert json.loads(rows[0]["input"]) == row["input"]


def test_a_byte_order_mark_at_the_start_and_a_missing_last_newline_are_no_problem(tmp_path: Path) -> None:
    rows, problems = _read(_jsonl(tmp_path, b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), b"", b"  \r", _bad(item_id="t-2")))
    assert problems == []
    assert [row["row"] for row in rows] == [1, 4]


def test_a_row_that_is_too_large_is_read_past(tmp_path: Path) -> None:
    huge = json.dumps(_bad(input={"text": "x" * (2 * MAX_ROW_BYTES)})).encode()
    rows, problems = _read(_jsonl(tmp_path, GOOD, huge, _bad(item_id="t-2")))
    assert [row["item_id"] for row in rows] == ["t-0017", "t-2"]
    assert problems == [(2, "larger than 10,485,760 bytes")]


def test_a_problem_never_quotes_the_row_s_text(tmp_path: Path) -> None:
    wrong = [_bad(input={"text": "secret words"}, confidence="secret words"), _bad(input=["secret words"])]
    _, problems = _read(_jsonl(tmp_path, b'{"secret words', b'{"input": secret words}', *wrong))
    assert len(problems) == 4
    assert "secret words" not in str(problems)


def test_the_confidence_is_the_score_of_the_predicted_label_if_none_is_given(tmp_path: Path) -> None:
    rows, _ = _read(_jsonl(tmp_path, _without("confidence"), _bad(scores=None)))
    assert [row["confidence"] for row in rows] == [0.51, 0.5]
    assert (rows[1]["scores"], rows[1]["margin"], rows[1]["entropy"]) == ("{}", None, None)


def test_a_missing_value_of_a_declared_attribute_is_no_problem(tmp_path: Path) -> None:
    rows, problems = _read(_jsonl(tmp_path, _without("attributes"), _bad(attributes={"amount": None})))
    assert problems == []
    assert [row["attributes"] for row in rows] == ["{}", '{"amount":null}']


def test_chunks_have_the_size_that_was_asked_for_and_progress_is_told(tmp_path: Path) -> None:
    told: list[int] = []
    path = _jsonl(tmp_path, *(_bad(item_id=f"t-{number}") for number in range(25)))
    chunks = list(read_predictions(path, TASK, LABELS, KEY, ATTRIBUTES, chunk_rows=10, progress=told.append))
    assert [chunk.read for chunk in chunks] == [10, 10, 5]
    assert told == [10, 20, 25]


def test_a_dash_reads_jsonl_from_the_standard_input() -> None:
    rows, _ = _read("-", stdin=io.BytesIO(json.dumps(GOOD).encode()))
    assert len(rows) == 1


def test_a_gzipped_file_that_breaks_off_gives_the_rows_before_the_break(tmp_path: Path) -> None:
    lines = b"".join(
        json.dumps(_bad(item_id=f"t-{n}", input={"text": f"{n * 7919} words"})).encode() + b"\n" for n in range(2000)
    )
    path = tmp_path / "predictions.jsonl.gz"
    whole = gzip.compress(lines)
    path.write_bytes(whole)
    assert len(_read(path)[0]) == 2000
    path.write_bytes(whole[: len(whole) // 2])
    rows, problems = _read(path)
    assert 0 < len(rows) < 2000
    assert "breaks off here" in problems[-1][1]


def test_bytes_that_are_not_utf8_spoil_only_their_row_of_a_csv(tmp_path: Path) -> None:
    path = _csv(tmp_path, GOOD, _bad(item_id="t-bad"), _bad(item_id="t-2"))
    path.write_bytes(path.read_bytes().replace(b"t-bad", b"t-\xff\xfe"))
    rows, problems = _read(path)
    assert [row["item_id"] for row in rows] == ["t-0017", "t-2"]
    assert problems == [(2, "item_id: invalid UTF-8")]


def test_a_csv_row_with_too_many_fields_or_broken_json_is_listed(tmp_path: Path) -> None:
    path = _csv(tmp_path, GOOD, GOOD)
    first, second = path.read_text().splitlines()[1:]
    header = path.read_text().splitlines()[0]
    path.write_text(
        "\n".join([header, first, first + ",more", second.replace('{""label', "{label"), first.replace("t-0017", "t-2")])
    )
    rows, problems = _read(path)
    assert [row["item_id"] for row in rows] == ["t-0017", "t-2"]
    assert problems[0] == (2, "10 fields where the header has 9")
    assert problems[1][1].startswith("prediction: broken JSON")


def test_parquet_may_carry_nested_fields_as_json_text_too(tmp_path: Path) -> None:
    texts = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in GOOD.items()}
    rows, problems = _read(_parquet(tmp_path, texts, {**texts, "input": '{"text": "a", "text": "b"}'}))
    assert len(rows) == 1
    assert problems == [(2, "input: the key 'text' stands there twice")]


def test_parquet_values_that_json_lacks_spoil_only_their_row(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    ids = pa.array([b"t-1", b"\xff", b"t-3"], pa.binary()).view(pa.string())
    table = pa.Table.from_pylist([_without("item_id")] * 3).append_column("item_id", ids)
    pq.write_table(table, path)
    rows, problems = _read(path)
    assert [row["item_id"] for row in rows] == ["t-1", "t-3"]
    assert problems == [(2, "invalid UTF-8")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.jsonl", None),
        ("predictions.xlsx", b"PK"),
        ("predictions.parquet", b"no parquet"),
        ("predictions.jsonl.gz", b"no gzip"),
        ("predictions.csv", b"text,label\na,b\n"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_is_an_error_with_a_remedy(name: str, content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as raised:
        read_predictions(tmp_path / name, TASK, LABELS, KEY, ATTRIBUTES)
    assert name in raised.value.message
    assert raised.value.remedy


def test_an_attribute_type_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no type 'money'"):
        read_predictions(_jsonl(tmp_path, GOOD), TASK, LABELS, KEY, {"amount": "money"})


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(categories=None)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@pytest.mark.catalogue("A6", "A8")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(list(GOOD)), _anything) | st.binary(max_size=30).map(lambda b: b.replace(b"\n", b" ")),
        max_size=5,
    )
)
@example([BOM_UTF8])
def test_whatever_the_lines_are_each_is_accepted_or_listed(tmp_path: Path, changes: list[dict[str, Any] | bytes]) -> None:
    lines = [each if isinstance(each, bytes) else json.dumps({**GOOD, **each}).encode() for each in changes]
    rows, problems = _read(_jsonl(tmp_path, *lines, GOOD))
    blank = sum(not (line if number else line.removeprefix(BOM_UTF8)).strip() for number, line in enumerate(lines))
    assert len(rows) + len(problems) == len(lines) + 1 - blank
    assert rows[-1]["item_id"] == "t-0017"
    for row in rows:
        assert 0 <= row["confidence"] <= 1
        assert "\0" not in "".join(str(value) for value in row.values())
