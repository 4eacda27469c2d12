"""Predictions that are answered at once: the same checks, engine and receipts as `ingest`, over what a few requests hold.

An answer is given when its receipt is in the store, durably. The receipts become a file, and what a person is to see becomes
items, at the next `flush`, which is part of a cycle and holds its lease. Answering needs no lease: what has come between the
look and the write is noticed by the write, which then is made anew.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias, cast

import pyarrow as pa

from hitl_bridge.core import draws
from hitl_bridge.core.model import JSON, BatchId, Prediction, Problem, Purpose
from hitl_bridge.core.triage import normalise
from hitl_bridge.core.triage.revisions import Arrival, Digests, KnownReceipt, Sorted, in_present_form, sort_out
from hitl_bridge.ports import (
    Batch,
    Clock,
    KnownItems,
    OnlineRow,
    OnlineStore,
    OnlineView,
    PredictionChunk,
    Receipts,
    ReceiptTable,
    RequestKey,
    RowChecker,
    TriageEngine,
)
from hitl_bridge.services.intake.queueing import CONFLICT, first_digests, queued_item

if TYPE_CHECKING:
    from hitl_bridge.core.policy import ReviewPolicy

SOURCE = "online"
"""What stands as the source of a batch that was flushed."""

FLUSH_ROWS = 50_000
"""Rows of one flush: its transaction takes a moment, for which answers wait."""

KEPT_ROWS = 100_000
"""Flushed rows that stay in the store, so that a prediction that is sent again is answered without reading a file."""

KEYS_FOR = timedelta(hours=24)
"""How long an idempotency key is remembered."""

NO_BATCH = BatchId("")


@dataclass(frozen=True, slots=True)
class OnlinePorts:
    """What answering needs of the world, and the workspace's key. `policy` is asked for each group: it may change."""

    check: RowChecker
    store: OnlineStore
    known: KnownItems
    engine: TriageEngine
    clock: Clock
    key: bytes
    policy: Callable[[], ReviewPolicy]


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request holds: rows as they came, and the key under which they may be asked again."""

    rows: Sequence[JSON]
    key: RequestKey | None = None


@dataclass(frozen=True, slots=True)
class Triaged:
    """What became of a prediction. `receipt` is canonical JSON; `again`: it was answered like this before."""

    item_id: str
    revision: int
    tier: str
    purpose: str | None
    receipt: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Conflict(Problem):
    """The same model said something else of the same input before."""


Result: TypeAlias = Triaged | Problem


@dataclass(frozen=True, slots=True)
class Answered:
    """One result for each row of a request, in their order; none if its key was used for another request before."""

    results: tuple[Result, ...] = ()
    key_is_taken: bool = False


class Answering:
    """Answers groups of requests. One thread uses it; as many as like may each have their own."""

    def __init__(self, ports: OnlinePorts) -> None:
        self._ports = ports
        self._files_seen = 0

    def answer(self, requests: Sequence[Asked]) -> list[Answered]:
        """An answer for each request, in their order; all is durable when this returns.

        Raises:
            StoreUnavailable: nothing was written, ask again.
            UsageError: a rule can't be evaluated.
        """
        while True:
            look = self._look(requests)
            if taken := _taken(requests, look.view.keys):
                return self._without(taken, requests)
            group = _Group(self._ports, look)
            if self._recorded(group.rows, requests, look.view):
                return list(_answers(requests, group.results))

    def _look(self, requests: Sequence[Asked]) -> _Look:
        chunk = self._ports.check([row for request in requests for row in request.rows])
        arrivals = list(map(Arrival, *(chunk.predictions[name].to_pylist() for name in Arrival._fields)))
        view = self._ports.store.look({each.item_id for each in arrivals}, _keys(requests), self._files_seen)
        self._ports.known.add(view.new_files)
        self._files_seen = view.newest_file
        return _Look(chunk, arrivals, view)

    def _without(self, taken: Collection[int], requests: Sequence[Asked]) -> list[Answered]:
        others = iter(self.answer([request for place, request in enumerate(requests) if place not in taken]))
        return [Answered(key_is_taken=True) if place in taken else next(others) for place in range(len(requests))]

    def _recorded(self, rows: Sequence[OnlineRow], requests: Sequence[Asked], view: OnlineView) -> bool:
        """Whether all that is new is in the store now; False if somebody was faster."""
        new_keys = [key for key in _keys(requests) if (key.caller, key.key) not in view.keys]
        return not (rows or new_keys) or self._ports.store.record(rows, new_keys, view, self._ports.clock.now())


def triaged(answering: Answering, predictions: Sequence[Prediction]) -> list[Result]:
    """What became of each prediction, durable when this returns."""
    (answered,) = answering.answer([Asked([row_of(prediction) for prediction in predictions])])
    return list(answered.results)


def row_of(prediction: Prediction) -> JSON:
    """As it would come in from a file: it is checked like one."""
    return {
        "item_id": prediction.item_id,
        "input": dict(prediction.input),
        "prediction": dict(prediction.output),
        "confidence": prediction.confidence,
        "model_version": prediction.model_version,
        "scores": dict(prediction.scores),
        "scenario": prediction.scenario,
        "attributes": dict(prediction.attributes),
        "predicted_at": prediction.predicted_at,
    }


def _keys(requests: Sequence[Asked]) -> list[RequestKey]:
    """Each key once."""
    return list({(request.key.caller, request.key.key): request.key for request in requests if request.key}.values())


def _taken(requests: Sequence[Asked], used: Mapping[tuple[str, str], str]) -> set[int]:
    """Places of requests whose key was used for something else, before or earlier in the group."""
    digests, taken = dict(used), set()
    for place, request in enumerate(requests):
        if request.key is not None:
            digest = digests.setdefault((request.key.caller, request.key.key), request.key.request_digest)
            if digest != request.key.request_digest:
                taken.add(place)
    return taken


def _answers(requests: Sequence[Asked], results: Mapping[int, Result]) -> Iterator[Answered]:
    """What each request is told, with row numbers of its own."""
    number = 0
    for request in requests:
        told = []
        for own in range(1, len(request.rows) + 1):
            number += 1
            result = results[number]
            told.append(replace(result, row=own) if isinstance(result, Problem) else result)
        yield Answered(tuple(told))


# ------------------------------------------------------------------------------------------------- one group


@dataclass(frozen=True, slots=True)
class _Look:
    """The rows of a group, checked, and what was there."""

    chunk: PredictionChunk
    arrivals: list[Arrival]
    view: OnlineView


class _Group:
    """Some requests as one batch: `rows` are to be recorded, `results` are by the row's number in the batch."""

    def __init__(self, ports: OnlinePorts, look: _Look) -> None:
        self._ports = ports
        self._look = look
        self._numbers: list[int] = look.chunk.predictions["row"].to_pylist()
        self.results: dict[int, Result] = {problem.row: problem for problem in look.chunk.problems}
        known = self._known()
        found = sort_out(known, look.arrivals)
        self.rows = self._fresh(found, {(each.arrival.item_id, each.revision) for each in known if each.asked})
        self._tell_the_others(found, {each.arrival: each.revision for each in known})

    def _known(self) -> list[KnownReceipt]:
        """Files are asked only for what the store's own rows do not settle."""
        here = [KnownReceipt(row.arrival, row.revision, row.asked) for row in self._look.view.rows]
        settled = {each.arrival[:_SAME] for each in here}
        open_ones = {each.item_id for each in self._look.arrivals if each[:_SAME] not in settled}
        return in_present_form(self._ports.known.known(sorted(open_ones)), self._look.arrivals, self._first_form) + here

    def _first_form(self, places: Sequence[int]) -> list[Digests]:
        rows = self._look.chunk.predictions.take(pa.array(places, pa.int64())).to_pylist()
        return [first_digests(self._ports.key, row) for row in rows]

    def _fresh(self, found: Sorted, asked: set[tuple[str, int]]) -> list[OnlineRow]:
        if not found.fresh:
            return []
        policy, received_at = self._ports.policy(), self._ports.clock.now()
        fresh = _with_revisions(self._look.chunk.predictions, found)
        receipts = self._ports.engine.triage(fresh, policy.plan, self._ports.key).to_pylist()
        rows = []
        for at, ((place, revision), receipt) in enumerate(zip(found.fresh, receipts, strict=True)):
            arrival, shows, item = self._look.arrivals[place], receipt["purpose"] is not None, None
            if shows and (arrival.item_id, revision) not in asked:
                asked.add((arrival.item_id, revision))
                (row,) = fresh.slice(at, 1).to_pylist()
                item = queued_item(policy, self._ports.key, NO_BATCH, row, receipt, received_at)
            self.results[self._numbers[place]] = _triaged(text := normalise.canonical(receipt), receipt)
            rows.append(OnlineRow(arrival, revision, text, received_at, shows, item))
        return rows

    def _tell_the_others(self, found: Sorted, revisions: Mapping[Arrival, int]) -> None:
        """What was here before, earlier in the group included, and what contradicts it."""
        if not found.duplicates and not found.conflicts:
            return
        receipts = {row.arrival: row.receipt for row in (*self._look.view.rows, *self.rows)}
        for place in found.duplicates:
            arrival = self._look.arrivals[place]
            text = receipts.get(arrival)
            if text is None:
                kept = self._ports.known.receipt(arrival.item_id, arrival.model_version, revisions[arrival])
                text = normalise.canonical(kept)
            self.results[self._numbers[place]] = replace(_triaged(text, json.loads(text)), again=True)
        for place in found.conflicts:
            self.results[self._numbers[place]] = Conflict(self._numbers[place], CONFLICT)


def _with_revisions(predictions: pa.Table, found: Sorted) -> pa.Table:
    """The predictions that are new, with the revision of the item that each one is of."""
    if len(found.fresh) < predictions.num_rows:
        predictions = predictions.take(pa.array([place for place, _ in found.fresh], pa.int64()))
    return predictions.append_column("revision", pa.array([revision for _, revision in found.fresh], pa.int32()))


_SAME = 3
"""The first fields of an arrival: item, model version and input."""


def _triaged(text: str, receipt: Mapping[str, JSON]) -> Triaged:
    purpose, revision = receipt["purpose"], cast("int", receipt["revision"])
    return Triaged(str(receipt["item_id"]), revision, str(receipt["tier"]), cast("str | None", purpose), text)


# ------------------------------------------------------------------------------------------------- the flush


@dataclass(frozen=True, slots=True)
class FlushPorts:
    """What a flush needs of the world. It is made by whoever holds the lease on the projects."""

    store: OnlineStore
    receipts: Receipts
    table: ReceiptTable
    clock: Clock
    key: bytes
    rows: int = FLUSH_ROWS


def flush(ports: FlushPorts) -> int:
    """Puts every answered prediction into files of receipts, and makes items of those that a person is to see; how many.

    The file is durable first; that it counts, its items, and how far was flushed are one transaction. A crash between the
    two leaves a file that nothing counts on.
    """
    flushed = 0
    while rows := ports.store.waiting(ports.rows):
        _flush(ports, rows)
        flushed += len(rows)
    if flushed:
        ports.store.forget(keep=KEPT_ROWS, keys_before=ports.clock.now() - KEYS_FOR)
    return flushed


def _flush(ports: FlushPorts, rows: Sequence[OnlineRow]) -> None:
    content = draws.digest(ports.key, "online content", *("\x1f".join((str(row.seq), *row.arrival)) for row in rows))
    batch_id = normalise.batch_id(ports.key, content)
    table = ports.table([row.receipt for row in rows])
    items = [replace(row.item, batch_id=batch_id) for row in rows if row.item is not None]
    purposes = Counter(table["purpose"].to_pylist())
    batch = Batch(
        batch_id=batch_id,
        source=SOURCE,
        content_sha256=content,
        read=len(rows),
        accepted=len(rows),
        duplicates=0,
        problems=0,
        tiers=dict(Counter(table["tier"].to_pylist())),
        audits=purposes[Purpose.AUDIT],
        received_at=ports.clock.now(),
    )
    ports.store.record_flush(batch, ports.receipts.write(batch_id, table), items, up_to=rows[-1].seq)
