"""Long inputs, folders of files, and workspaces whose receipts are older than today's form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hitl_bridge.adapters.predictions.files import item_hashes, read_predictions
from hitl_bridge.adapters.receipts.files import ParquetReceipts
from hitl_bridge.adapters.sql.store import open_store
from hitl_bridge.adapters.triage_engine.duckdb import DuckDbTriage
from hitl_bridge.core.model import BatchId, ItemId, ItemState
from hitl_bridge.core.triage.columns import RECEIPTS
from hitl_bridge.core.triage.normalise import canonical, first_content_digest, first_input_digest
from hitl_bridge.ports import Batch, ReceiptFile
from hitl_bridge.services.intake.ingest import IngestPorts, IngestResult, Progress, ingest
from tests.services.test_ingest import ATTRIBUTES, KEY, KIND, LABELS, NOW, POLICY, _FixedClock


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[IngestPorts]:
    with _ports(tmp_path / "one") as made:
        yield made


class _ports:
    """A workspace in a folder, read column by column where possible, in batches of 20 rows and more."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._store = open_store("sqlite:///bridge.db", folder)
        self._engine = DuckDbTriage(pools=[(pool.name, pool.when) for pool in POLICY.pools.values()]).kept()
        receipts = ParquetReceipts(folder / "receipts")
        world = (self._read, self._store, self._engine, receipts, receipts, _FixedClock(), KEY)
        self._ports = IngestPorts(*world, batch_rows=20, long_batch_rows=20, item_hashes=item_hashes)

    @staticmethod
    def _read(source: str, progress: Progress | None) -> Any:
        return read_predictions(source, KIND, LABELS, KEY, ATTRIBUTES, chunk_rows=10, progress=progress)

    def __enter__(self) -> IngestPorts:
        return self._ports

    def __exit__(self, *error: object) -> None:
        self._engine.close()
        self._store.close()


def _row(number: int, **changes: Any) -> dict[str, Any]:
    sure = 0.95 if number % 3 else 0.65
    row = {
        "item_id": f"t-{number}",
        "input": {"text": f"words of {number}"},
        "prediction": {"label": "refund"},
        "scores": {"refund": sure, "billing": 1 - sure},
        "confidence": sure,
        "model_version": "m1",
        "attributes": {"amount": float(number)},
    }
    return row | changes


def _other(number: int) -> dict[str, Any]:
    """The same item and input with other scores."""
    return _row(number, scores={"refund": 0.8, "billing": 0.2})


FILES: Sequence[Sequence[dict[str, Any]]] = (
    [_row(number) for number in range(30)],
    [_row(number) for number in range(20, 50)],  # ten of them were in the first
    [*(_row(number) for number in range(50, 70)), _other(3), _row(4, model_version="m2"), _row(5, input={"text": "changed"})],
    [_row(70), _row(70), _row(71, prediction={"label": "nonsense"}), _other(70), _row(5, input={"text": "changed"})],
)


def _folder(folder: Path, *, parquet: bool) -> Path:
    folder.mkdir()
    for number, rows in enumerate(FILES):
        if parquet:
            pq.write_table(pa.Table.from_pylist(list(rows)), folder / f"part-{number}.parquet")
        else:
            (folder / f"part-{number}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def _told(ports: IngestPorts, result: IngestResult) -> Mapping[str, Any]:
    """What must not depend on how the rows came."""
    items = sorted((item.item_id, item.revision, item.triage, item.prediction) for item in ports.store.items_in(ItemState.QUEUED))
    receipts = [ports.receipts.of_item(ports.store.receipt_files(), ItemId(item)) for item in ("t-3", "t-4", "t-5", "t-70")]
    return {
        "counts": (result.read, result.accepted, result.duplicates, result.rejected, result.tiers, result.audits),
        "problems": [(each.row, each.reason, each.file.partition(".")[0]) for each in result.problems],
        "items": items,
        "receipts": receipts,
    }


def test_columns_and_rows_come_to_the_same(tmp_path: Path) -> None:
    with _ports(tmp_path / "one") as by_column, _ports(tmp_path / "two") as by_row:
        one = _told(by_column, ingest(by_column, POLICY, str(_folder(tmp_path / "columns", parquet=True))))
        two = _told(by_row, ingest(by_row, POLICY, str(_folder(tmp_path / "rows", parquet=False))))
    assert one == two
    assert one["counts"][:4] == (88, 73, 12, 3)
    assert [problem[::2] for problem in one["problems"]] == [(21, "part-2"), (3, "part-3"), (4, "part-3")]


def test_a_folder_again_changes_nothing(ports: IngestPorts, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "in", parquet=True)
    first = ingest(ports, POLICY, str(folder))
    files = ports.store.receipt_files()
    again = ingest(ports, POLICY, str(folder))
    assert (again.accepted, again.duplicates, again.rejected) == (0, first.accepted + first.duplicates, first.rejected)
    assert (again.batches, ports.store.receipt_files()) == (first.batches, files)


def test_a_batch_that_came_to_nothing_halfway_is_taken_up_again(ports: IngestPorts, tmp_path: Path) -> None:
    """The first file alone was taken in before the process died; with the folder it is passed over, and the rest is new."""
    folder = _folder(tmp_path / "in", parquet=True)
    ingest(ports, POLICY, str(folder / "part-0.parquet"))
    result = ingest(ports, POLICY, str(folder))
    assert (result.accepted, result.duplicates) == (73 - 30, 12 + 30)


def test_nothing_but_repeated_rows_is_looked_at_one_by_one(ports: IngestPorts, tmp_path: Path) -> None:
    """The look beforehand tells of them all: the receipts are not asked for the others."""
    asked: list[str] = []

    class _Receipts(ParquetReceipts):
        def known(self, files: Sequence[ReceiptFile], predictions: pa.Table) -> pa.Table:
            asked.extend(predictions["item_id"].to_pylist() if files else [])
            return super().known(files, predictions)

    receipts = _Receipts(tmp_path / "one" / "receipts")
    ingest(replace(ports, receipts=receipts, rejects=receipts), POLICY, str(_folder(tmp_path / "in", parquet=True)))
    assert set(asked) <= {f"t-{number}" for number in [*range(20, 30), 3, 4, 5, 70]}


# ------------------------------------------------------------------------------------------------ the first form


def _first_receipt(row: Mapping[str, Any], purpose: str | None) -> dict[str, Any]:
    texts = {name: canonical(row[name]) for name in ("input", "prediction", "scores", "attributes")}
    said = (texts["prediction"], texts["scores"], repr(row["confidence"]), "null", texts["attributes"])
    return {
        "item_id": row["item_id"],
        "revision": 1,
        "model_version": row["model_version"],
        "tier": "auto",
        "purpose": purpose,
        "uniform_draw": 0.5,
        "input_digest": first_input_digest(KEY, texts["input"]),
        "content_digest": first_content_digest(KEY, *said),
    }


_ARROW = {"VARCHAR": pa.string(), "DOUBLE": pa.float64(), "INTEGER": pa.int32(), "BOOLEAN": pa.bool_()}


def _first_form(ports: IngestPorts, folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A batch as the first version left it: sorted by id, digests as text, no hash, no form of draws."""
    later = ("draw_form", "energy", "disagreement", "predicted_at")
    schema = pa.schema([(name, _ARROW[kind]) for name, kind in RECEIPTS.items() if name not in later])
    receipts = [_first_receipt(row, "review" if row["confidence"] < 0.9 else None) for row in rows]
    folder.mkdir(exist_ok=True)
    table = pa.Table.from_pylist(sorted(receipts, key=lambda row: row["item_id"]), schema=schema)
    pq.write_table(table, folder / "b_old-1.parquet", row_group_size=8_192)
    batch = Batch(BatchId("b_old"), "old", "0" * 64, len(rows), len(rows), 0, 0, {}, 0, NOW)
    ports.store.record_batch(batch, ReceiptFile("b_old-1.parquet", "0" * 64, len(rows)), [])


@pytest.mark.parametrize("parquet", [True, False])
def test_receipts_of_the_first_form_are_known_again(ports: IngestPorts, tmp_path: Path, parquet: bool) -> None:
    _first_form(ports, tmp_path / "one" / "receipts", [_row(number) for number in range(30)])
    result = ingest(ports, POLICY, str(_folder(tmp_path / "in", parquet=parquet)))
    assert (result.accepted, result.duplicates, result.rejected) == (73 - 30, 12 + 30, 3)
    found = ports.receipts.of_item(ports.store.receipt_files(), ports.store.items_in(ItemState.QUEUED)[0].item_id)
    assert list(found[0]) == list(RECEIPTS)
    old, new = ports.receipts.of_item(ports.store.receipt_files(), ItemId("t-5"))
    assert (old["revision"], old["draw_form"], len(str(old["input_digest"]))) == (1, None, 64)
    assert (new["revision"], new["draw_form"], len(str(new["input_digest"]))) == (2, 2, 32)


# ---------------------------------------------------------------------------------------------------- repetitions


@pytest.mark.parametrize("rows", [100, 10**8])
def test_repeated_and_known_items_are_found_in_any_number_of_buckets(ports: IngestPorts, tmp_path: Path, rows: int) -> None:
    folder = _folder(tmp_path / "in", parquet=True)
    ingest(ports, POLICY, str(folder / "part-0.parquet"))
    _first_form(ports, tmp_path / "one" / "receipts", [_row(number) for number in range(1000, 1010)])
    receipts, files = ports.receipts, ports.store.receipt_files()
    hashes = np.random.default_rng(1).integers(0, 2**64, 1000, dtype=np.uint64)
    ids = pq.read_table(tmp_path / "one" / "receipts" / files[0].path)["item_hash"].to_numpy()
    found = receipts.repeated(files, [np.sort(hashes[:600]), np.sort(hashes[500:]), ids[:5]], rows)
    assert found is not None
    assert found.tolist() == sorted([*hashes[500:600].tolist(), *ids[:5].tolist()])
