"""Takes predictions in: known ones are passed over, the rest are triaged, and those that need a person become items.

Receipts are durable first; then the batch, its receipts and its items are recorded in one transaction. A crash between
the two leaves a file that nothing counts on, and the same command run again does the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import pyarrow as pa
import pyarrow.compute as pc

from hitl_bridge.core import draws
from hitl_bridge.core.model import JSON, BatchId, Item, ItemId, ItemState, JSONObject, Prediction, Problem, Purpose
from hitl_bridge.core.routing import BlindOrder, Pool, choose_route
from hitl_bridge.core.triage import normalise
from hitl_bridge.core.triage.revisions import Arrival, KnownReceipt, Sorted, sort_out
from hitl_bridge.core.triage.tiers import Receipt, triage_of
from hitl_bridge.ports import Batch, Clock, PredictionChunk, ReceiptFile, Receipts, StateStore, TriageEngine

if TYPE_CHECKING:
    from hitl_bridge.core.policy import ReviewPolicy

BATCH_ROWS = 100_000
"""A longer input is taken in as several batches, each all or nothing, so that memory does not grow with its length."""

LISTED_PROBLEMS = 10_000
"""Problems that a result lists; the rejects files have all of them."""

Progress: TypeAlias = Callable[[int], None]

_ARRIVAL = list(Arrival._fields)
_BLIND = (Purpose.AUDIT, Purpose.UNIFORM)


class PredictionReader(Protocol):
    def __call__(self, source: str, progress: Progress | None) -> Iterator[PredictionChunk]:
        """The predictions of a file, or of the standard input if `source` is `-`. Raises UsageError if it can't be read."""


class RejectsWriter(Protocol):
    def write_rejects(self, batch_id: BatchId, problems: Iterable[Problem], *, more: bool) -> str:
        """Keeps file, row and reason of the rows that were not taken; returns where. `more`: in the same place as before."""


@dataclass(frozen=True, slots=True)
class IngestPorts:
    """What ingest needs of the world, and the workspace's key. `batch_rows` is the length of a batch."""

    read: PredictionReader
    store: StateStore
    engine: TriageEngine
    receipts: Receipts
    rejects: RejectsWriter
    clock: Clock
    key: bytes
    batch_rows: int = BATCH_ROWS


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of an input. `batches` is one for each length of a batch, `batch_id` the first of them.

    `rejected` counts the problem rows. `rejects_path` is where all of them are listed; None if there are none, or in a
    dry run.
    """

    batch_id: BatchId | None = None
    read: int = 0
    accepted: int = 0
    duplicates: int = 0
    problems: tuple[Problem, ...] = ()
    tiers: Mapping[str, int] = field(default_factory=dict)
    audits: int = 0
    rejected: int = 0
    rejects_path: str | None = None
    batches: tuple[BatchId, ...] = ()

    def plus(self, other: IngestResult) -> IngestResult:
        return IngestResult(
            batch_id=self.batch_id or other.batch_id,
            read=self.read + other.read,
            accepted=self.accepted + other.accepted,
            duplicates=self.duplicates + other.duplicates,
            problems=(self.problems + other.problems)[:LISTED_PROBLEMS],
            tiers={name: self.tiers.get(name, 0) + other.tiers.get(name, 0) for name in {**self.tiers, **other.tiers}},
            audits=self.audits + other.audits,
            rejected=self.rejected + other.rejected,
            rejects_path=self.rejects_path or other.rejects_path,
            batches=self.batches + other.batches,
        )


def ingest(
    ports: IngestPorts, policy: ReviewPolicy, source: str, *, dry_run: bool = False, progress: Progress | None = None
) -> IngestResult:
    """Takes in all of `source`. Running it again on the same input changes nothing and counts its rows as duplicates.

    Args:
        source: a file, or `-`.
        dry_run: computes everything and writes nothing. Repetitions across batches of one input are not seen then.
        progress: told the number of rows read so far.

    Raises:
        UsageError: `source` can't be read, or a rule can't be evaluated.
        RefusedForSafety: receipts that the store counts on are missing.
    """
    result = IngestResult(tiers={tier.name: 0 for tier in policy.plan.tiers})
    for gathered in _gathered(ports.read(source, progress), ports.batch_rows):
        taken, problems = _Intake(ports, policy, Path(source).name, dry_run).take(gathered)
        result = result.plus(taken)
        if problems and result.batch_id and not dry_run:
            path = ports.rejects.write_rejects(result.batch_id, problems, more=result.rejects_path is not None)
            result = replace(result, rejects_path=path)
    return result


def _gathered(chunks: Iterable[PredictionChunk], batch_rows: int) -> Iterator[PredictionChunk]:
    """Chunks put together to batches: by rows read, so that the same input is always cut at the same places."""
    held: list[PredictionChunk] = []
    for chunk in chunks:
        held.append(chunk)
        if sum(each.read for each in held) >= batch_rows:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(chunks: Sequence[PredictionChunk]) -> PredictionChunk:
    return PredictionChunk(
        predictions=pa.concat_tables([chunk.predictions for chunk in chunks]),
        problems=tuple(problem for chunk in chunks for problem in chunk.problems),
        read=sum(chunk.read for chunk in chunks),
    )


@dataclass(frozen=True, slots=True)
class _Intake:
    """One batch on its way in."""

    ports: IngestPorts
    policy: ReviewPolicy
    name: str
    dry_run: bool

    def take(self, gathered: PredictionChunk) -> tuple[IngestResult, tuple[Problem, ...]]:
        """What became of the batch, and all of its problem rows."""
        arrivals = _arrivals(gathered.predictions)
        known = self._known(gathered.predictions)
        found = sort_out(known, arrivals)
        problems = gathered.problems + self._conflicts(gathered.predictions, found)
        content = self._content(arrivals, problems)
        batch_id = normalise.batch_id(self.ports.key, content)
        fresh = _with_revisions(gathered.predictions, found)
        receipts = self.ports.engine.triage(fresh, self.policy.plan, self.ports.key) if fresh.num_rows else None
        result = _counted(batch_id, gathered.read, found, problems, receipts)
        if receipts is not None and not self.dry_run:
            self._record(result, content, receipts, self._items(batch_id, fresh, receipts, known))
        return result, problems

    def _known(self, predictions: pa.Table) -> list[KnownReceipt]:
        files: list[ReceiptFile] = self.ports.store.receipt_files()
        if not files or not predictions.num_rows:
            return []
        table = self.ports.receipts.known(files, predictions)
        asked = [purpose is not None for purpose in table["purpose"].to_pylist()]
        return list(map(KnownReceipt, _arrivals(table), table["revision"].to_pylist(), asked))

    def _conflicts(self, predictions: pa.Table, found: Sorted) -> tuple[Problem, ...]:
        rows = predictions["row"].take(pa.array(found.conflicts, pa.int64())).to_pylist()
        reason = "differs from what the same model version said of the same input before"
        return tuple(Problem(row=row, reason=reason, file=self.name) for row in rows)

    def _content(self, arrivals: Sequence[Arrival], problems: Sequence[Problem]) -> str:
        """What is in the batch, digested. A batch of nothing but problems is named by them."""
        lines = ["\x1f".join(arrival) for arrival in arrivals]
        if not lines:
            lines = [self.name, *(f"{problem.row}\x1f{problem.reason}" for problem in problems)]
        return draws.digest(self.ports.key, "batch content", "\n".join(lines))

    def _items(self, batch_id: BatchId, fresh: pa.Table, receipts: pa.Table, known: Sequence[KnownReceipt]) -> list[Item]:
        """An item for each revision that a person is to see and that is not an item yet: a new model version's receipt
        neither asks again what is decided nor changes what is open."""
        asked = {(receipt.arrival.item_id, receipt.revision) for receipt in known if receipt.asked}
        received_at = self.ports.clock.now()
        wanted = pc.indices_nonzero(receipts["purpose"].is_valid())
        items = []
        for row, receipt in zip(_rows(fresh.take(wanted)), _rows(receipts.take(wanted)), strict=True):
            identity = (str(receipt["item_id"]), cast("int", receipt["revision"]))
            if identity not in asked:
                asked.add(identity)
                items.append(self._item(batch_id, _prediction(row), receipt, received_at))
        return items

    def _item(self, batch_id: BatchId, prediction: Prediction, receipt: Receipt, received_at: datetime) -> Item:
        policy = self.policy
        triage = triage_of(receipt, prediction, policy.kind.text(prediction.output), policy.plan)
        tier = policy.tier(policy.plan.first_review_tier if triage.purpose in _BLIND else triage.tier)
        mix = draws.draw(self.ports.key, "order", prediction.model_version, prediction.item_id)
        pool = self._pool(receipt)
        return Item(
            item_id=prediction.item_id,
            revision=cast("int", receipt["revision"]),
            state=ItemState.QUEUED,
            round=1,
            prediction=prediction,
            triage=triage,
            route=choose_route(triage, pool, tier, received_at, BlindOrder(policy.audit_sla, mix)),
            batch_id=batch_id,
            received_at=received_at,
        )

    def _pool(self, receipt: Receipt) -> Pool:
        """The pool that the engine chose. Where no condition held, the last one takes it: nothing goes unseen."""
        pools = self.policy.pools
        return pools[str(receipt["pool"])] if receipt["pool"] in pools else list(pools.values())[-1]

    def _record(self, result: IngestResult, content: str, receipts: pa.Table, items: Sequence[Item]) -> None:
        batch = Batch(
            batch_id=result.batches[0],
            source=self.name,
            content_sha256=content,
            read=result.read,
            accepted=result.accepted,
            duplicates=result.duplicates,
            problems=result.rejected,
            tiers=result.tiers,
            audits=result.audits,
            received_at=self.ports.clock.now(),
        )
        self.ports.store.record_batch(batch, self.ports.receipts.write(batch.batch_id, receipts), items)


def _arrivals(table: pa.Table) -> list[Arrival]:
    return list(map(Arrival, *(table[name].to_pylist() for name in _ARRIVAL)))


def _with_revisions(predictions: pa.Table, found: Sorted) -> pa.Table:
    places = pa.array([place for place, _ in found.fresh], pa.int64())
    revisions = pa.array([revision for _, revision in found.fresh], pa.int32())
    return predictions.take(places).append_column("revision", revisions)


def _counted(batch_id: BatchId, read: int, found: Sorted, problems: Sequence[Problem], receipts: pa.Table | None) -> IngestResult:
    return IngestResult(
        batch_id=batch_id,
        batches=(batch_id,),
        read=read,
        accepted=len(found.fresh),
        duplicates=len(found.duplicates),
        rejected=len(problems),
        problems=tuple(problems[:LISTED_PROBLEMS]),
        tiers={} if receipts is None else _counts(receipts["tier"]),
        audits=0 if receipts is None else _counts(receipts["purpose"]).get(Purpose.AUDIT, 0),
    )


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {each["values"]: each["counts"] for each in column.value_counts().to_pylist()}


def _rows(table: pa.Table) -> Iterator[Mapping[str, JSON]]:
    for batch in table.to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()


def _prediction(row: Mapping[str, JSON]) -> Prediction:
    return Prediction(
        item_id=ItemId(str(row["item_id"])),
        input=_object(row["input"]),
        output=_object(row["output"]),
        confidence=cast("float", row["confidence"]),
        model_version=str(row["model_version"]),
        scores=cast("Mapping[str, float]", _object(row["scores"])),
        scenario=cast("str | None", row["scenario"]),
        attributes=_object(row["attributes"]),
        predicted_at=cast("str | None", row["predicted_at"]),
    )


def _object(text: JSON) -> JSONObject:
    return cast("JSONObject", json.loads(str(text)))
