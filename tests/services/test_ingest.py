"""Taking predictions in: what is known is passed over, what needs a person becomes an item, and nothing is done by halves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge.adapters.predictions.files import read_predictions
from hitl_bridge.adapters.receipts.files import ParquetReceipts
from hitl_bridge.adapters.sql.store import SqlStore, open_store
from hitl_bridge.adapters.triage_engine.duckdb import DuckDbTriage
from hitl_bridge.core.draws import uniform_and_audit
from hitl_bridge.core.model import BatchId, Item, ItemState, Purpose, Split
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.routing import Pool, Tier
from hitl_bridge.core.task_types import task_type
from hitl_bridge.core.triage import reasons
from hitl_bridge.core.triage.plan import Rule, TierBound, TriagePlan
from hitl_bridge.errors import RefusedForSafety, UsageError
from hitl_bridge.ports import Batch, ReceiptFile
from hitl_bridge.services.intake.ingest import IngestPorts, IngestResult, Progress, ingest

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
KEY = b"k" * 32
KIND = task_type("text-classification")
LABELS = ("refund", "billing", "cancel")
ATTRIBUTES = {"amount": "float"}
PLAN = TriagePlan(
    "p1",
    (TierBound("auto", 0.1), TierBound("quick", 0.4), TierBound("comprehensive", 1.0)),
    rules=(Rule("amount > 10000", "comprehensive", "high stakes"),),
    attributes=ATTRIBUTES,
    audit_rate=0.0,
)
POLICY = ReviewPolicy(
    kind=KIND,
    labels=LABELS,
    plan=PLAN,
    tiers={
        "quick": Tier("quick", 0.4, sla=timedelta(hours=4)),
        "comprehensive": Tier("comprehensive", 1.0, reviewers=2, sla=timedelta(hours=24)),
    },
    pools={"payments": Pool("payments", "scenario = 'payments'"), "general": Pool("general")},
    audit_sla=timedelta(hours=48),
    adjudication_sla=timedelta(hours=24),
)


class _FixedClock:
    def now(self) -> datetime:
        return NOW

    def sleep(self, seconds: float) -> None:
        raise AssertionError("ingest waits for nothing")


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[IngestPorts]:
    def read(source: str, progress: Progress | None) -> Any:
        return read_predictions(source, KIND, LABELS, KEY, ATTRIBUTES, chunk_rows=10, progress=progress)

    store = open_store("sqlite:///bridge.db", tmp_path)
    receipts = ParquetReceipts(tmp_path / "receipts")
    engine = DuckDbTriage(pools=[(pool.name, pool.when) for pool in POLICY.pools.values()])
    yield IngestPorts(read, store, engine, receipts, receipts, _FixedClock(), KEY)
    store.close()


def _row(item_id: str = "t-1", *, sure: float = 0.7, **changes: Any) -> dict[str, Any]:
    scores = {"refund": sure, "billing": 1 - sure}
    row = {
        "item_id": item_id,
        "input": {"text": f"words of {item_id}"},
        "prediction": {"label": "refund"},
        "scores": scores,
        "model_version": "m1",
        "attributes": {"amount": 1},
    }
    return row | changes


def _file(folder: Path, *rows: Mapping[str, Any] | str, name: str = "in.jsonl") -> str:
    path = folder / name
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(path)


def _queued(ports: IngestPorts) -> list[Item]:
    return ports.store.items_in(ItemState.QUEUED)


def test_safe_predictions_are_approved_and_doubtful_ones_become_items_with_their_reason(
    ports: IngestPorts, tmp_path: Path
) -> None:
    stakes = _row("t-3", sure=0.95, attributes={"amount": 20000}, scenario="payments")
    result = ingest(ports, POLICY, _file(tmp_path, _row("t-1", sure=0.95), _row("t-2", sure=0.61), stakes))
    assert (result.read, result.accepted, result.duplicates, result.rejected) == (3, 3, 0, 0)
    assert result.tiers == {"auto": 1, "quick": 1, "comprehensive": 1}
    quick, strict = _queued(ports)
    assert (quick.item_id, quick.revision, quick.round, quick.route.tier, quick.route.pool) == ("t-2", 1, 1, "quick", "general")
    assert quick.triage.reason == "The model is torn between refund (61 %) and billing (39 %)"
    assert quick.route.due_at == NOW + timedelta(hours=4)
    assert (strict.item_id, strict.route.tier, strict.route.reviewers, strict.route.pool) == (
        "t-3",
        "comprehensive",
        2,
        "payments",
    )
    assert strict.triage.reason == "High stakes: amount > 10000"
    assert (strict.triage.rule, strict.triage.edge) == ("amount > 10000", True)
    assert strict.prediction.input == {"text": "words of t-3"}


@pytest.mark.catalogue("A7")
def test_the_same_file_again_is_the_same_batch_and_changes_nothing(ports: IngestPorts, tmp_path: Path) -> None:
    path = _file(tmp_path, *(_row(f"t-{number}") for number in range(25)), '{"broken')
    first, items = ingest(ports, POLICY, path), _queued(ports)
    again = ingest(ports, POLICY, path)
    assert (again.batch_id, again.accepted, again.duplicates, again.rejected) == (first.batch_id, 0, 25, 1)
    assert again.problems == first.problems
    assert _queued(ports) == items
    assert len(ports.store.receipt_files()) == 1


def test_rejected_rows_are_listed_without_their_text(ports: IngestPorts, tmp_path: Path) -> None:
    path = _file(tmp_path, '{"secret words', _row(), _row("t-2", prediction={"label": "nonsense"}))
    result = ingest(ports, POLICY, path)
    assert [problem.row for problem in result.problems] == [1, 3]
    assert result.rejects_path
    assert Path(result.rejects_path).name == f"{result.batch_id}.rejects.jsonl"
    written = [json.loads(line) for line in Path(result.rejects_path).read_text().splitlines()]
    assert written[1] == {"file": "in.jsonl", "row": 3, "reason": "unknown label 'nonsense'"}
    assert "secret" not in str(written)


def test_a_file_of_nothing_but_bad_rows_leaves_only_its_rejects(ports: IngestPorts, tmp_path: Path) -> None:
    one = ingest(ports, POLICY, _file(tmp_path, "{", name="one.jsonl"))
    other = ingest(ports, POLICY, _file(tmp_path, "[", "[", name="other.jsonl"))
    assert one.batch_id != other.batch_id
    assert one.rejects_path != other.rejects_path
    assert ports.store.receipt_files() == []


@pytest.mark.catalogue("A7")
def test_other_scores_of_the_same_model_are_a_problem_row(ports: IngestPorts, tmp_path: Path) -> None:
    result = ingest(ports, POLICY, _file(tmp_path, _row(sure=0.7), _row(sure=0.7), _row(sure=0.8)))
    assert (result.accepted, result.duplicates, [problem.row for problem in result.problems]) == (1, 1, [3])
    later = ingest(ports, POLICY, _file(tmp_path, _row("t-9"), _row(sure=0.9), name="later.jsonl"))
    assert [(problem.row, problem.file) for problem in later.problems] == [(2, "later.jsonl")]
    assert [item.prediction.confidence for item in _queued(ports) if item.item_id == "t-1"] == [0.7]


@pytest.mark.catalogue("A7")
def test_a_changed_input_is_a_new_revision_with_a_review_of_its_own(ports: IngestPorts, tmp_path: Path) -> None:
    ingest(ports, POLICY, _file(tmp_path, _row()))
    ingest(ports, POLICY, _file(tmp_path, _row(input={"text": "other words"})))
    assert [(item.revision, item.prediction.input) for item in _queued(ports)] == [(2, {"text": "other words"})]


def test_a_new_model_on_the_same_input_leaves_the_open_item_as_it_is(ports: IngestPorts, tmp_path: Path) -> None:
    ingest(ports, POLICY, _file(tmp_path, _row()))
    before = _queued(ports)
    result = ingest(ports, POLICY, _file(tmp_path, _row(model_version="m2", sure=0.65)))
    assert result.accepted == 1
    assert _queued(ports) == before
    receipts = ports.receipts.of_item(ports.store.receipt_files(), before[0].item_id)
    assert [(receipt["model_version"], receipt["revision"]) for receipt in receipts] == [("m1", 1), ("m2", 1)]


def test_an_item_that_was_approved_is_asked_about_when_a_new_model_doubts_it(ports: IngestPorts, tmp_path: Path) -> None:
    ingest(ports, POLICY, _file(tmp_path, _row(sure=0.95)))
    assert _queued(ports) == []
    both = [_row(model_version="m2", sure=0.65), _row(model_version="m3", sure=0.64)]
    ingest(ports, POLICY, _file(tmp_path, *both))
    assert [(item.revision, item.prediction.model_version) for item in _queued(ports)] == [(1, "m2")]


def test_audits_and_uniform_items_are_blind_and_give_nothing_away(ports: IngestPorts, tmp_path: Path) -> None:
    policy = replace(POLICY, plan=replace(PLAN, audit_rate=0.3, uniform_rate=0.2))
    rows = [_row(f"t-{number}", sure=0.95 if number % 2 else 0.7) for number in range(300)]
    result = ingest(ports, policy, _file(tmp_path, *rows))
    items = _queued(ports)
    blind = [item for item in items if item.route.blind]
    assert {item.triage.purpose for item in blind} == {Purpose.AUDIT, Purpose.UNIFORM}
    assert {item.triage.reason for item in blind} == {reasons.BLIND}
    assert {(item.route.tier, item.route.due_at) for item in blind} == {("quick", NOW + timedelta(hours=48))}
    assert len({item.route.reason for item in blind}) == 1
    assert all(
        (item.triage.purpose is Purpose.UNIFORM) == (uniform_and_audit(KEY, "m1", item.item_id)[0] < 0.2)
        == (item.triage.split is not Split.TRAIN)
        for item in items
    )  # fmt: skip
    assert result.audits == sum(item.triage.purpose is Purpose.AUDIT for item in items) > 20
    assert result.uniform == sum(item.triage.purpose is Purpose.UNIFORM for item in items) > 20


def test_a_dry_run_computes_the_same_and_writes_nothing(ports: IngestPorts, tmp_path: Path) -> None:
    path = _file(tmp_path, _row("t-1", sure=0.95), _row("t-2"), "{")
    planned = ingest(ports, POLICY, path, dry_run=True)
    assert (ports.store.receipt_files(), _queued(ports)) == ([], [])
    assert not (tmp_path / "receipts").exists()
    done = ingest(ports, POLICY, path)
    assert replace(done, rejects_path=None) == planned


def test_a_long_file_is_several_batches_and_still_idempotent(ports: IngestPorts, tmp_path: Path) -> None:
    rows = [_row(f"t-{number}", sure=0.95) for number in range(25)]
    path = _file(tmp_path, *rows, _row("t-0", sure=0.95), _row("t-1", sure=0.8))
    ports = replace(ports, batch_rows=20)
    result = ingest(ports, POLICY, path)
    assert (len(result.batches), result.accepted, result.duplicates, result.rejected) == (2, len(rows), 1, 1)
    assert result.problems[0].row == len(rows) + 2
    again = ingest(ports, POLICY, path)
    assert (again.batches, again.accepted, again.duplicates) == (result.batches, 0, len(rows) + 1)


def test_progress_is_told_and_an_unreadable_file_is_an_error(ports: IngestPorts, tmp_path: Path) -> None:
    told: list[int] = []
    ingest(ports, POLICY, _file(tmp_path, *(_row(f"t-{number}") for number in range(15))), progress=told.append)
    assert told == [10, 15]
    with pytest.raises(UsageError, match="no file"):
        ingest(ports, POLICY, str(tmp_path / "missing.jsonl"))


def test_an_empty_file_is_nothing_and_no_error(ports: IngestPorts, tmp_path: Path) -> None:
    assert ingest(ports, POLICY, _file(tmp_path)) == IngestResult(tiers={"auto": 0, "quick": 0, "comprehensive": 0})


def test_an_item_that_no_pool_s_condition_takes_goes_to_the_last_pool(ports: IngestPorts, tmp_path: Path) -> None:
    ports = replace(ports, engine=DuckDbTriage(pools=[("payments", "scenario = 'payments'")]))
    ingest(ports, POLICY, _file(tmp_path, _row()))
    assert _queued(ports)[0].route.pool == "general"


def test_lost_receipts_stop_the_next_ingest(ports: IngestPorts, tmp_path: Path) -> None:
    ingest(ports, POLICY, _file(tmp_path, _row()))
    for file in (tmp_path / "receipts").iterdir():
        file.unlink()
    with pytest.raises(RefusedForSafety, match="missing"):
        ingest(ports, POLICY, _file(tmp_path, _row("t-2")))


class _CrashingStore:
    """The store of a process that dies just before its transaction."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def receipt_files(self) -> list[ReceiptFile]:
        return self._store.receipt_files()

    def batch(self, batch_id: BatchId) -> Batch | None:
        return self._store.batch(batch_id)

    def record_batch(self, batch: Batch, receipts: ReceiptFile | None, items: Sequence[Item], **touches: object) -> bool:
        raise KeyboardInterrupt


def test_a_crash_between_receipts_and_store_is_mended_by_running_again(ports: IngestPorts, tmp_path: Path) -> None:
    path = _file(tmp_path, _row("t-1"), _row("t-2", sure=0.95))
    crashing: Any = _CrashingStore(ports.store)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        ingest(replace(ports, store=crashing), POLICY, path)
    assert ports.store.receipt_files() == []
    result = ingest(ports, POLICY, path)
    assert (result.accepted, len(_queued(ports)), len(ports.store.receipt_files())) == (2, 1, 1)
    assert len(list((tmp_path / "receipts").iterdir())) == 1
