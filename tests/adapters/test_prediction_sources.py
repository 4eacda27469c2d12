"""Files, folders, patterns and addresses: what a source is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hitl_bridge.adapters.predictions.files import item_hashes, read_predictions
from hitl_bridge.adapters.predictions.sources import source_files
from hitl_bridge.core.task_types import task_type
from hitl_bridge.errors import UsageError

_ROW = {"item_id": "t-1", "input": {"text": "a"}, "prediction": {"label": "yes"}, "confidence": 0.5, "model_version": "m1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "day=2").mkdir()
    (tmp_path / "day=1").mkdir()
    (tmp_path / "_delta_log").mkdir()
    (tmp_path / "b.jsonl").write_text(json.dumps(_ROW))
    (tmp_path / "day=1" / "part.csv").write_text("item_id\n")
    pq.write_table(pa.Table.from_pylist([_ROW]), tmp_path / "day=2" / "part.parquet")
    for hidden in ("_SUCCESS", ".part.parquet.crc", ".x.jsonl", "_delta_log/0.jsonl", "notes.txt"):
        (tmp_path / hidden).write_text("x")
    return tmp_path


def test_a_folder_is_its_files_of_known_kinds_in_the_order_of_their_names(folder: Path) -> None:
    wanted = ["b.jsonl", "day=1/part.csv", "day=2/part.parquet"]
    assert [file.name for file in source_files(str(folder))] == wanted
    assert [file.name for file in source_files(f"file://{folder}")] == wanted


def test_a_pattern_is_the_files_that_fit_it(folder: Path) -> None:
    assert [file.name for file in source_files(f"{folder}/*/*.parquet")] == ["part.parquet"]
    assert [file.name for file in source_files(f"file://{folder}/*/*.parquet")] == ["part.parquet"]


def test_what_is_read_through_a_file_system_is_what_lies_there(folder: Path) -> None:
    terms: tuple[Any, ...] = (task_type("text-classification"), ("yes", "no"), b"k", {})
    for source in (f"file://{folder}/day=2/part.parquet", f"file://{folder}/b.jsonl", folder / "b.jsonl"):
        (chunk,) = read_predictions(source, *terms)
        assert (chunk.predictions["item_id"].to_pylist(), chunk.problems) == (["t-1"], ())
    found = item_hashes(f"file://{folder}/day=2/part.parquet")
    assert found is not None
    assert found[0] == 1
    assert item_hashes(folder) is None  # not all of it is Parquet


@pytest.mark.parametrize("source", ["empty", "*.parquet"])
def test_a_source_without_files_is_an_error_that_says_where_it_looked(source: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for address in (str(tmp_path / source), f"file://{tmp_path}/{source}"):
        with pytest.raises(UsageError, match=r"no files of predictions at .*") as raised:
            source_files(address)
        assert "jsonl" in str(raised.value.remedy)


def test_an_address_that_can_t_be_reached_is_an_error_with_a_remedy() -> None:
    with pytest.raises(UsageError, match="can't be reached") as raised:
        source_files("nowhere://bucket/file.parquet")
    assert "credentials" in str(raised.value.remedy)
