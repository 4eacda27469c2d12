"""Decisions that were made before, as pages and the index of similar items need them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from hitl_bridge.adapters.sql import audit_log, store_backup
from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.record import LATEST_REVISION
from hitl_bridge.adapters.sql.rows import decision_of, item_of
from hitl_bridge.adapters.sql.rulings import RULED_COLUMNS, TAKEN_BACK, RevisionRow, with_rulings
from hitl_bridge.adapters.sql.statements import chunks, is_latest_revision, items_with_input
from hitl_bridge.adapters.sql.tables import annotation_revisions, decisions, events, gold_items, items, payloads, review_tasks
from hitl_bridge.core.model import AnnotationState, Decision, Item, ItemId, ItemState, Op, Split
from hitl_bridge.core.prior import MissingLabel, PriorDecision
from hitl_bridge.ports import AuditHead, DecidedItem
from hitl_bridge.ports.prior import Identity

_AT_ONCE = 5_000
_SHOWN = 5
"""Items named beside each missing label."""


class SqlPrior:
    """Implements `ports.PriorStore`. Reads only."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def head(self) -> AuditHead:
        with reading(self._engine) as connection:
            return audit_log.head(connection)

    def knows(self, head: AuditHead) -> bool:
        with reading(self._engine) as connection:
            return store_backup.knows(connection, head)

    def newly_decided(self, after: AuditHead | None) -> Iterator[DecidedItem]:
        with reading(self._engine) as connection:
            yield from _all(connection) if after is None else _since(connection, after)

    def holding(self, identities: Sequence[Identity]) -> Mapping[Identity, PriorDecision]:
        found: dict[Identity, PriorDecision] = {}
        with reading(self._engine) as connection:
            for some in chunks(sorted(set(identities))):
                newest = _newest(connection, some)
                held = {each: decision for each, decision in newest.items() if decision.op is not Op.REMOVE}
                inputs = _inputs(connection, list(held))
                found |= {each: PriorDecision(*each, inputs[each], held[each]) for each in held if each in inputs}
        return found

    def last_decisions(self, identities: Sequence[Identity]) -> Mapping[Identity, Decision]:
        found: dict[Identity, Decision] = {}
        with reading(self._engine) as connection:
            for some in chunks(sorted(set(identities))):
                found |= _newest(connection, some, taken_back=False)
        return found

    def latest(self, item_id: ItemId) -> Item | None:
        wanted = items_with_input().where(items.c.item_id == item_id, is_latest_revision())
        with reading(self._engine) as connection:
            row = connection.execute(wanted).mappings().first()
        return None if row is None else item_of(row)

    def missing_labels(self) -> list[MissingLabel]:
        with reading(self._engine) as connection:
            said = with_rulings(connection, connection.execute(_MISSING).mappings())
        wishes: defaultdict[str, list[RevisionRow]] = defaultdict(list)
        for row in said:
            name = " ".join(str(row["answer"].get("missing_label", "")).split())
            if name and not row.get(TAKEN_BACK):
                wishes[name.casefold()].append(row)
        found = [_missing(rows) for rows in wishes.values()]
        return sorted(found, key=lambda each: (-each.times, each.name))


# ----------------------------------------------------------------------------------------------- what is new

_OF_ITEM = (payloads.c.item_id == items.c.item_id) & (payloads.c.revision == items.c.revision)
_TRAINS = sa.select(items.c.item_id, items.c.revision, items.c.scores, payloads.c.input).select_from(
    items.join(payloads, _OF_ITEM)
)
_TRAINS = _TRAINS.where(items.c.split == Split.TRAIN)


def _all(connection: Connection) -> Iterator[DecidedItem]:
    first = (decisions.c.item_id == items.c.item_id) & (decisions.c.revision == items.c.revision) & (decisions.c.seq == 0)
    wanted = _TRAINS.where(sa.exists().where(first))
    rows = connection.execution_options(yield_per=_AT_ONCE).execute(wanted)
    yield from map(_decided_item, rows.mappings())


def _since(connection: Connection, after: AuditHead) -> Iterator[DecidedItem]:
    """The log tells of each decision in the transaction that made it: what came after the head is what is new."""
    told = sa.select(events.c.detail).where(events.c.action == ItemState.DECIDED.value, events.c.seq > after.seq)
    first = [place for (detail,) in connection.execute(told.order_by(events.c.seq)) if (place := _first_of(detail)) is not None]
    for some in chunks(first):
        wanted = set(some)
        rows = connection.execute(_TRAINS.where(items.c.item_id.in_(sorted({item_id for item_id, _ in some})))).mappings()
        yield from (_decided_item(row) for row in rows if (row["item_id"], row["revision"]) in wanted)


def _first_of(detail: Mapping[str, Any]) -> Identity | None:
    """The item's revision, if the event is of its first decision: `t-17#2.0`."""
    item_id, _, tail = str(detail.get("decision_id", "")).rpartition("#")
    revision, _, seq = tail.partition(".")
    return (ItemId(item_id), int(revision)) if seq == "0" else None


def _decided_item(row: Mapping[Any, Any]) -> DecidedItem:
    return DecidedItem(ItemId(row["item_id"]), row["revision"], row["input"], row["scores"])


# ------------------------------------------------------------------------------------------------- what holds


def _newest(connection: Connection, some: Sequence[Identity], *, taken_back: bool = True) -> dict[Identity, Decision]:
    """The newest decision on each; without those that take one back if not `taken_back`."""
    wanted, found = set(some), dict[Identity, Decision]()
    mine = sa.select(decisions).where(decisions.c.item_id.in_(sorted({item_id for item_id, _ in some})))
    for row in connection.execute(mine.order_by(decisions.c.seq)).mappings():
        decision = decision_of(row)
        identity = (decision.item_id, decision.revision)
        if identity in wanted and (taken_back or decision.op is not Op.REMOVE):
            found[identity] = decision
    return found


def _inputs(connection: Connection, some: Sequence[Identity]) -> Mapping[Identity, Any]:
    """Without those whose true answer is known: it would be read off the page of a copy."""
    is_gold = sa.exists().where(gold_items.c.item_id == payloads.c.item_id)
    columns = (payloads.c.item_id, payloads.c.revision, payloads.c.input)
    mine = sa.select(*columns).where(payloads.c.item_id.in_(sorted({item_id for item_id, _ in some})), ~is_gold)
    return {(ItemId(row.item_id), row.revision): row.input for row in connection.execute(mine)}


# --------------------------------------------------------------------------------------------- missing labels

_MISSING = (
    sa.select(*RULED_COLUMNS, annotation_revisions.c.reviewer, review_tasks.c.item_id)
    .select_from(annotation_revisions.join(review_tasks, annotation_revisions.c.push_key == review_tasks.c.push_key))
    .where(
        annotation_revisions.c.state == AnnotationState.ANSWER,
        sa.cast(annotation_revisions.c.answer, sa.Text).like('%"missing_label"%'),
        LATEST_REVISION,
    )
    .order_by(annotation_revisions.c.id.desc())
)


def _missing(rows: Sequence[RevisionRow]) -> MissingLabel:
    names = Counter(" ".join(str(row["answer"]["missing_label"]).split()) for row in rows)
    ranked = [name for name, _ in sorted(names.items(), key=lambda pair: (-pair[1], pair[0]))]
    asked_on = _different(ItemId(row["item_id"]) for row in rows)
    reviewers = len({row["reviewer"] for row in rows})
    return MissingLabel(ranked[0], len(rows), reviewers, tuple(asked_on[:_SHOWN]), tuple(ranked))


def _different(item_ids: Iterable[ItemId]) -> list[ItemId]:
    return list(dict.fromkeys(item_ids))
