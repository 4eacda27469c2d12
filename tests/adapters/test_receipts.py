"""Receipt files: immutable, durable, and one item found fast."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hitl_bridge.adapters.receipts.files import ParquetReceipts
from hitl_bridge.core.macs import item_hash
from hitl_bridge.core.model import BatchId, ItemId, Problem
from hitl_bridge.core.triage.columns import RECEIPTS
from hitl_bridge.errors import RefusedForSafety

_TYPES = {"VARCHAR": pa.string(), "DOUBLE": pa.float64(), "INTEGER": pa.int32(), "BOOLEAN": pa.bool_()}
_SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in RECEIPTS.items()])
BATCH, NEXT = BatchId("b_1"), BatchId("b_2")


def _receipts(*item_ids: str, model: str = "m1", purpose: str | None = None) -> pa.Table:
    rows: list[dict[str, Any]] = [
        {
            "item_id": each,
            "revision": 1,
            "model_version": model,
            "input_digest": f"i-{each}",
            "content_digest": "c",
            "purpose": purpose,
        }
        for each in item_ids
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _ids(*item_ids: str) -> pa.Table:
    return pa.table({"item_id": list(item_ids)})


@pytest.fixture
def receipts(tmp_path: Path) -> ParquetReceipts:
    return ParquetReceipts(tmp_path / "it's receipts")


def test_a_file_is_named_by_its_batch_and_content_and_holds_what_was_written(receipts: ParquetReceipts, tmp_path: Path) -> None:
    file = receipts.write(BATCH, _receipts("t-2", "t-1"))
    path = tmp_path / "it's receipts" / file.path
    assert file.rows == 2
    assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
    assert pq.read_table(path)["item_id"].to_pylist() == ["t-1", "t-2"]
    assert [each.name for each in path.parent.iterdir()] == [file.path]


def test_writing_the_same_batch_again_gives_the_same_file(receipts: ParquetReceipts) -> None:
    one, other = _receipts("t-2", "t-1"), _receipts("t-1", "t-2")
    assert receipts.write(BATCH, one) == receipts.write(BATCH, one) == receipts.write(BATCH, other)


def test_other_receipts_of_the_same_batch_do_not_touch_the_file_that_is_there(receipts: ParquetReceipts) -> None:
    first = receipts.write(BATCH, _receipts("t-1"))
    second = receipts.write(BATCH, _receipts("t-1", purpose="review"))
    assert first.path != second.path
    assert receipts.known([first], _ids("t-1"))["purpose"].to_pylist() == [None]


def test_known_are_the_receipts_of_the_same_items_in_the_listed_files_only(receipts: ParquetReceipts) -> None:
    first = receipts.write(BATCH, _receipts("t-1", "t-2", "t-3"))
    second = receipts.write(NEXT, _receipts("t-2", model="m2", purpose="review"))
    receipts.write(BatchId("b_3"), _receipts("t-4"))
    found = receipts.known([first, second], _ids("t-2", "t-4", "t-9")).to_pylist()
    assert [(row["item_id"], row["model_version"], row["purpose"]) for row in found] == [
        ("t-2", "m1", None),
        ("t-2", "m2", "review"),
    ]
    assert found[0]["input_digest"] == "i-t-2"
    assert receipts.known([], _ids("t-1")).num_rows == 0


def test_every_receipt_of_an_item_is_found_oldest_first(receipts: ParquetReceipts) -> None:
    files = [receipts.write(BATCH, _receipts("t-1", model="m2")), receipts.write(NEXT, _receipts("t-1", "t-2", model="m1"))]
    found = receipts.of_item(files, ItemId("t-1"))
    assert [row["model_version"] for row in found] == ["m2", "m1"]
    assert list(found[0]) == list(RECEIPTS)
    assert receipts.of_item(files, ItemId("t-'; DROP")) == receipts.of_item([], ItemId("t-1")) == []


def test_looking_one_item_up_reads_one_small_row_group(receipts: ParquetReceipts, tmp_path: Path) -> None:
    file = receipts.write(BATCH, _receipts(*(f"t-{number:06}" for number in range(140_000))))
    metadata = pq.ParquetFile(tmp_path / "it's receipts" / file.path).metadata
    place = next(at for at in range(metadata.num_columns) if metadata.schema.column(at).name == "item_hash")
    wanted = item_hash("t-023456")
    holding = [
        group
        for group in range(metadata.num_row_groups)
        if (bounds := metadata.row_group(group).column(place).statistics).min <= wanted <= bounds.max
    ]
    assert metadata.num_row_groups == 4
    assert len(holding) == 1
    assert receipts.of_item([file], ItemId("t-023456"))[0]["item_id"] == "t-023456"


def test_a_missing_file_is_refused_by_name(receipts: ParquetReceipts, tmp_path: Path) -> None:
    file = receipts.write(BATCH, _receipts("t-1"))
    (tmp_path / "it's receipts" / file.path).unlink()
    for ask in (lambda: receipts.known([file], _ids("t-1")), lambda: receipts.of_item([file], ItemId("t-1"))):
        with pytest.raises(RefusedForSafety, match=file.path):
            ask()


def test_rejects_are_listed_by_file_row_and_reason(receipts: ParquetReceipts) -> None:
    problem = Problem(3, "unknown label 'Größe\ud800'", "in.jsonl")
    path = receipts.write_rejects(BATCH, [problem])
    assert receipts.write_rejects(BATCH, [problem], more=True) == path
    lines = Path(path).read_text().splitlines()
    assert Path(path).name == "b_1.rejects.jsonl"
    assert [json.loads(line) for line in lines] == [{"file": "in.jsonl", "row": 3, "reason": problem.reason}] * 2
