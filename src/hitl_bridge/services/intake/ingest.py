"""Takes predictions in: known ones are passed over, the rest are triaged, and those that need a person become items.

Receipts are durable first; then the batch, its receipts and its items are recorded in one transaction. A crash between
the two leaves a file that nothing counts on, and the same command run again does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hitl_bridge.core import draws
from hitl_bridge.core.model import JSON, BatchId, Item, Problem, Purpose
from hitl_bridge.core.triage import normalise
from hitl_bridge.core.triage.arrivals import (
    Found,
    among,
    content_of,
    find_new,
    hashes_of,
    known_receipts,
)
from hitl_bridge.core.triage.revisions import Digests
from hitl_bridge.ports import Batch, Clock, PredictionChunk, ReceiptFile, Receipts, StateStore, TriageEngine
from hitl_bridge.services.intake.batches import batches_of
from hitl_bridge.services.intake.queueing import CONFLICT, first_digests, queued_item

if TYPE_CHECKING:
    from hitl_bridge.core.policy import ReviewPolicy

BATCH_ROWS = 100_000
"""A longer input is taken in as several batches, each all or nothing, so that memory does not grow with its length."""

LONG_BATCH_ROWS = 262_144
"""The same for an input that is read column by column, where a batch of this size takes half a second."""

LISTED_PROBLEMS = 10_000
"""Problems that a result lists; the rejects files have all of them."""

Progress: TypeAlias = Callable[[int], None]


class PredictionReader(Protocol):
    def __call__(self, source: str, progress: Progress | None) -> Iterator[PredictionChunk]:
        """The predictions of a file, or of the standard input if `source` is `-`. Raises UsageError if it can't be read."""


class ItemHashes(Protocol):
    def __call__(self, source: str) -> tuple[int, Iterator[NDArray[np.uint64]]] | None:
        """About how many rows a source has, and the hashes of their items; None if that can't be told without reading it."""


class RejectsWriter(Protocol):
    def write_rejects(self, batch_id: BatchId, problems: Iterable[Problem], *, more: bool) -> str:
        """Keeps file, row and reason of the rows that were not taken; returns where. `more`: in the same place as before."""


@dataclass(frozen=True, slots=True)
class IngestPorts:
    """What ingest needs of the world, and the workspace's key. `batch_rows` is the length of a batch, `long_batch_rows` where
    the input is read column by column; `item_hashes` looks through such an input beforehand. `settle` puts what was
    answered online meanwhile where the receipts are, for a batch to be held against. `asks_other_models`: a rule names
    `disagreement`."""

    read: PredictionReader
    store: StateStore
    engine: TriageEngine
    receipts: Receipts
    rejects: RejectsWriter
    clock: Clock
    key: bytes
    batch_rows: int = BATCH_ROWS
    long_batch_rows: int = LONG_BATCH_ROWS
    item_hashes: ItemHashes = lambda source: None
    settle: Callable[[], object] = lambda: None
    asks_other_models: bool = False


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of an input. `batches` is one for each length of a batch, `batch_id` the first of them.

    `audits` and `uniform` count what was drawn by chance and is shown blind: of approved items, and of all for measuring.
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
    uniform: int = 0
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
            uniform=self.uniform + other.uniform,
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
    intake = _Intake(ports, policy, Path(source).name, dry_run, _Seen.before(ports, source))
    for taken, problems in intake.in_turn(batches_of(ports.read(source, progress), ports.batch_rows, ports.long_batch_rows)):
        result = result.plus(taken)
        if problems and result.batch_id and not dry_run:
            path = ports.rejects.write_rejects(result.batch_id, problems, more=result.rejects_path is not None)
            result = replace(result, rejects_path=path)
    return result


@dataclass(slots=True)
class _Seen:
    """What a look at the items of a whole source told beforehand: `items` (hashes) come twice in it or have receipts in one of
    `files`. None for `items` where nobody looked, or they are too many: then each batch asks for all of its rows."""

    items: NDArray[np.uint64] | None = None
    files: set[str] = field(default_factory=set)

    @classmethod
    def before(cls, ports: IngestPorts, source: str) -> _Seen:
        found = ports.item_hashes(source)
        if found is None or found[0] <= ports.long_batch_rows:
            return cls()
        files, (rows, hashes) = ports.store.receipt_files(), found
        return cls(ports.receipts.repeated(files, hashes, rows), {file.path for file in files})


Taken: TypeAlias = tuple[IngestResult, tuple[Problem, ...]]
"""What became of a batch, and all of its problem rows."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """A batch that was triaged and is not recorded yet."""

    gathered: PredictionChunk
    content: str
    result: IngestResult
    problems: tuple[Problem, ...]
    receipts: pa.Table | None = None
    items: Sequence[Item] = ()


@dataclass(slots=True)
class _Before:
    """The batch before, while it is written and recorded beside the triage of the next one."""

    done: Future[Taken] | None = None

    def wait(self) -> None:
        if self.done is not None:
            self.done.result()

    def taken(self) -> Iterator[Taken]:
        """Its end, once."""
        if self.done is not None:
            done, self.done = self.done, None
            yield done.result()


@dataclass(frozen=True, slots=True)
class _Intake:
    """Batches on their way in."""

    ports: IngestPorts
    policy: ReviewPolicy
    name: str
    dry_run: bool
    seen: _Seen
    before: _Before = field(default_factory=_Before)

    def in_turn(self, batches: Iterable[PredictionChunk]) -> Iterator[Taken]:
        """What became of each. One is written while the next is triaged, and recorded before the next is."""
        with ThreadPoolExecutor(1) as beside:
            for gathered in batches:
                content = self._content(gathered.predictions, gathered.problems)
                if self._is_recorded(gathered, content):
                    yield from self.before.taken()
                    yield _all_known(normalise.batch_id(self.ports.key, content), gathered), gathered.problems
                    continue
                draft = self._draft(gathered, content)
                yield from self.before.taken()
                self.before.done = beside.submit(self._recorded, draft)
            yield from self.before.taken()

    def _recorded(self, draft: _Draft) -> Taken:
        """Triaged again, until none of the batch's items was answered online meanwhile: that is known then."""
        while draft.receipts is not None and not self.dry_run and not self._record(draft):
            draft = self._draft(draft.gathered, draft.content, alone=True)
        return draft.result, draft.problems

    def _draft(self, gathered: PredictionChunk, content: str, *, alone: bool = False) -> _Draft:
        """The batch triaged, held against what is known of its items.

        Args:
            alone: nothing is being recorded beside it.
        """
        if not self.dry_run:
            self.ports.settle()
        predictions = gathered.predictions
        known = self._known(predictions, alone=alone)
        old = partial(_first_form, gathered, key=self.ports.key)
        found = find_new(predictions, known, old, self.seen.items)
        problems = gathered.problems + _conflicts(gathered, found)
        batch_id = normalise.batch_id(self.ports.key, content)
        fresh = self._with_disagreement(_with_revisions(predictions, found))
        if not fresh.num_rows:
            return _Draft(gathered, content, _counted(batch_id, gathered.read, found, problems, None), problems)
        receipts = self.ports.engine.triage(fresh, self.policy.plan, self.ports.key)
        result = _counted(batch_id, gathered.read, found, problems, receipts)
        items = () if self.dry_run else self._items(batch_id, replace(gathered, predictions=fresh), receipts, known)
        return _Draft(gathered, content, result, problems, receipts.append_column("item_hash", fresh["item_hash"]), items)

    def _is_recorded(self, gathered: PredictionChunk, content: str) -> bool:
        """Whether these very rows were taken in before, none of them in conflict with another: then each is a duplicate, and a
        long input that was broken off goes on quickly."""
        batch = self.ports.store.batch(normalise.batch_id(self.ports.key, content))
        return batch is not None and (batch.read, batch.problems) == (gathered.read, len(gathered.problems))

    def _with_disagreement(self, fresh: pa.Table) -> pa.Table:
        """Only where a rule asks for it: it needs a look at other receipts of the same items."""
        if not self.ports.asks_other_models or not fresh.num_rows:
            return fresh
        return self.ports.receipts.with_disagreement(self.ports.store.receipt_files(), fresh)

    def _known(self, predictions: pa.Table, *, alone: bool) -> pa.Table:
        """Receipts of items in this batch. Of files that a look beforehand has seen, only what it told of is asked for; if
        that is nothing, the batch before can't matter."""
        asked = predictions.select(["item_id", "item_hash"])
        told = asked if self.seen.items is None else asked.filter(pa.array(among(hashes_of(asked), self.seen.items)))
        if not alone and (told.num_rows or self.ports.asks_other_models):
            self.before.wait()
        files: list[ReceiptFile] = self.ports.store.receipt_files()
        if self.seen.items is None:
            return self.ports.receipts.known(files, asked)
        others = [file for file in files if file.path not in self.seen.files]
        before = [file for file in files if file.path in self.seen.files]
        both = [self.ports.receipts.known(before, told), self.ports.receipts.known(others, asked)]
        return pa.concat_tables([each for each in both if each.num_rows] or both[:1])

    def _content(self, predictions: pa.Table, problems: Sequence[Problem]) -> str:
        """What is in the batch, digested. A batch of nothing but problems is named by them."""
        if predictions.num_rows:
            return content_of(self.ports.key, predictions)
        lines = [self.name, *(f"{problem.row}\x1f{problem.reason}" for problem in problems)]
        return draws.digest(self.ports.key, "batch content", "\n".join(lines))

    def _items(self, batch_id: BatchId, fresh: PredictionChunk, receipts: pa.Table, known: pa.Table) -> list[Item]:
        """An item for each revision that a person is to see and that is not an item yet: a new model version's receipt
        neither asks again what is decided nor changes what is open."""
        asked = {(receipt.arrival.item_id, receipt.revision) for receipt in known_receipts(known) if receipt.asked}
        received_at = self.ports.clock.now()
        wanted = _in_order(fresh.predictions["row"], pc.indices_nonzero(receipts["purpose"].is_valid()))
        items = []
        for row, receipt in zip(_rows(_whole(fresh, wanted)), _rows(receipts.take(wanted)), strict=True):
            identity = (str(receipt["item_id"]), cast("int", receipt["revision"]))
            if identity not in asked:
                asked.add(identity)
                items.append(queued_item(self.policy, self.ports.key, batch_id, row, receipt, received_at))
        return items

    def _record(self, draft: _Draft) -> bool:
        result, receipts = draft.result, draft.receipts
        assert receipts is not None  # noqa: S101  (nothing is recorded of a batch that brought nothing)
        batch = Batch(
            batch_id=result.batches[0],
            source=self.name,
            content_sha256=draft.content,
            read=result.read,
            accepted=result.accepted,
            duplicates=result.duplicates,
            problems=result.rejected,
            tiers=result.tiers,
            audits=result.audits,
            received_at=self.ports.clock.now(),
        )
        file, taken = self.ports.receipts.write(batch.batch_id, receipts), receipts["item_id"]
        self.seen.files.add(file.path)  # what comes later in this source and is in it, the look beforehand told of
        return self.ports.store.record_batch(batch, file, draft.items, touches=lambda ids: pc.any(_one_of(taken, ids)).as_py())


def _conflicts(gathered: PredictionChunk, found: Found) -> tuple[Problem, ...]:
    rows = sorted(gathered.predictions["row"].take(pa.array(found.conflicts)).to_pylist())
    return tuple(Problem(row=row, reason=CONFLICT, file=gathered.file) for row in rows)


def _with_revisions(predictions: pa.Table, found: Found) -> pa.Table:
    whole = len(found.fresh) == predictions.num_rows
    fresh = predictions if whole else predictions.take(pa.array(found.fresh))
    return fresh.append_column("revision", pa.array(found.revisions, pa.int32()))


def _in_order(rows: pa.ChunkedArray, places: pa.Array) -> pa.Array:
    """Those places in the order in which their rows came."""
    return places.take(pc.sort_indices(rows.take(places)))


def _whole(chunk: PredictionChunk, places: pa.Array) -> pa.Table:
    """The rows at these places with all columns. The places are in the order of the rows."""
    if chunk.whole is None:
        return chunk.predictions.take(places)
    return chunk.whole(chunk.predictions["row"].take(places).to_pylist())


def _first_form(chunk: PredictionChunk, places: Sequence[int], key: bytes) -> list[Digests]:
    order = _in_order(chunk.predictions["row"], pa.array(places, pa.int64()))
    digests = {place: first_digests(key, row) for place, row in zip(order.to_pylist(), _rows(_whole(chunk, order)), strict=True)}
    return [digests[place] for place in places]


def _counted(batch_id: BatchId, read: int, found: Found, problems: Sequence[Problem], receipts: pa.Table | None) -> IngestResult:
    purposes = {} if receipts is None else _counts(receipts["purpose"])
    return IngestResult(
        batch_id=batch_id,
        batches=(batch_id,),
        read=read,
        accepted=len(found.fresh),
        duplicates=found.duplicates,
        rejected=len(problems),
        problems=tuple(problems[:LISTED_PROBLEMS]),
        tiers={} if receipts is None else _counts(receipts["tier"]),
        audits=purposes.get(Purpose.AUDIT, 0),
        uniform=purposes.get(Purpose.UNIFORM, 0),
    )


def _all_known(batch_id: BatchId, gathered: PredictionChunk) -> IngestResult:
    rows, none = gathered.predictions.num_rows, np.zeros(0, np.int64)
    found = Found(none, none.astype(np.int32), rows, none)
    return _counted(batch_id, gathered.read, found, gathered.problems, None)


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {each["values"]: each["counts"] for each in column.value_counts().to_pylist()}


def _one_of(column: pa.ChunkedArray, values: Sequence[str]) -> pa.ChunkedArray:
    return pc.is_in(column, pa.array(values, pa.string()))


def _rows(table: pa.Table) -> Iterator[Mapping[str, JSON]]:
    for batch in table.to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()
