"""Ingest: batches, their receipts and the items that need a person."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping, bindparam

from hitl_bridge.adapters.sql.rows import batch_of, batch_row, item_of, item_row, payload_row, receipt_file_of
from hitl_bridge.adapters.sql.statements import (
    chunks,
    insert_new,
    insert_new_returning,
    is_latest_revision,
    items_with_input,
    one_of,
    record_events,
    update_each,
)
from hitl_bridge.adapters.sql.tables import batches, items, payloads, receipt_files, review_tasks
from hitl_bridge.core.lifecycle import may_move
from hitl_bridge.core.model import JSON, BatchId, Item, ItemId, ItemState, TaskState
from hitl_bridge.ports import Batch, Event, ReceiptFile

_WITHDRAWABLE = [state for state in ItemState if may_move(state, ItemState.WITHDRAWN) and state != ItemState.WITHDRAWN]
_NEEDED = (TaskState.INTENDED, TaskState.UNKNOWN, TaskState.LIVE)


def batch(connection: Connection, batch_id: BatchId) -> Batch | None:
    row = connection.execute(sa.select(batches).where(batches.c.batch_id == batch_id)).mappings().first()
    return None if row is None else batch_of(row)


def all_receipt_files(connection: Connection) -> list[ReceiptFile]:
    rows = connection.execute(sa.select(receipt_files).order_by(receipt_files.c.id)).mappings()
    return [receipt_file_of(row) for row in rows]


def record_batch(connection: Connection, batch: Batch, receipts: ReceiptFile | None, new_items: Sequence[Item]) -> None:
    recorded = insert_new_returning(connection, batches, [batch_row(batch, len(new_items))], [batches.c.batch_id])
    if not recorded:
        return
    if receipts is not None:
        row = {"batch_id": batch.batch_id, "path": receipts.path, "sha256": receipts.sha256, "rows": receipts.rows}
        insert_new(connection, receipt_files, [row])
    for some in chunks(new_items):
        insert_new(connection, items, [item_row(item) for item in some])
        insert_new(connection, payloads, [payload_row(item) for item in some])
        _withdraw_older(connection, [item.item_id for item in some], batch)
    record_events(connection, [_ingested(batch, len(new_items))])


def items_in(connection: Connection, states: Sequence[ItemState]) -> list[Item]:
    wanted = items_with_input().where(items.c.state.in_(states), is_latest_revision())
    ordered = wanted.order_by(items.c.priority, items.c.received_at, items.c.item_id)
    return [item_of(row) for row in connection.execute(ordered).mappings()]


def _withdraw_older(connection: Connection, item_ids: Sequence[ItemId], batch: Batch) -> None:
    """Nobody needs to judge an input that has changed since."""
    columns = (items.c.item_id, items.c.revision, items.c.state)
    older = sa.select(*columns).where(items.c.item_id.in_(item_ids), ~is_latest_revision())
    # The state is looked at here: in the query it would lead SQLite to read every open item.
    open_ones = [row for row in connection.execute(older).mappings() if row["state"] in _WITHDRAWABLE]
    keys = [{"of_item": row["item_id"], "of_revision": row["revision"]} for row in open_ones]
    update_each(connection, _WITHDRAW, keys)
    update_each(connection, _CLOSE_TASKS, keys)
    record_events(connection, [_withdrawn(row, batch) for row in open_ones])


_WITHDRAW = (
    sa.update(items)
    .where(items.c.item_id == bindparam("of_item"), items.c.revision == bindparam("of_revision"))
    .values(state=ItemState.WITHDRAWN, needs_resolve=None)
)
_CLOSE_TASKS = (
    sa.update(review_tasks)
    .where(review_tasks.c.item_id == bindparam("of_item"), review_tasks.c.revision == bindparam("of_revision"))
    .where(one_of(review_tasks.c.state, _NEEDED))
    .values(state=TaskState.CLOSED)
)


def _withdrawn(row: RowMapping, batch: Batch) -> Event:
    detail: dict[str, JSON] = {"revision": row["revision"], "batch_id": batch.batch_id}
    return Event(at=batch.received_at, action="withdrawn", item_id=row["item_id"], detail=detail)


def _ingested(batch: Batch, queued: int) -> Event:
    detail: dict[str, JSON] = {
        "batch_id": batch.batch_id,
        "accepted": batch.accepted,
        "problems": batch.problems,
        "items": queued,
    }
    return Event(at=batch.received_at, action="ingested", detail=detail)
