"""Tasks that the labeling service holds no more, and what becomes of the items that waited for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping, bindparam

from hitl_bridge.adapters.sql.statements import chunks, record_events, update_each
from hitl_bridge.adapters.sql.tables import items, review_tasks
from hitl_bridge.core.lifecycle import OPEN
from hitl_bridge.core.model import JSON, ItemId, ItemState, PushKey, TaskState
from hitl_bridge.ports import Event

_NEEDED = (TaskState.INTENDED, TaskState.UNKNOWN, TaskState.LIVE)
_SETTLED_FIRST = (ItemState.PUSHED, ItemState.ANSWERED)


def close_gone(connection: Connection, keys: Sequence[PushKey], reason: str, at: datetime) -> int:
    return sum(_close_some(connection, some, reason, at) for some in chunks(keys))


def _close_some(connection: Connection, keys: Sequence[PushKey], reason: str, at: datetime) -> int:
    gone = [row for row in _tasks_with_items(connection, keys) if not _is_to_be_settled(row)]
    closed = [{"key": row["push_key"], "why": reason} for row in gone]
    update_each(connection, _CLOSE, closed)
    waiting = {(ItemId(row["item_id"]), row["revision"]): row for row in gone if _waits(row)}
    update_each(connection, _NEXT_ROUND, [{"of_item": item_id, "of_revision": revision} for item_id, revision in waiting])
    record_events(connection, [_asked_again(row, reason, at) for row in waiting.values()])
    return len(closed)


def _tasks_with_items(connection: Connection, keys: Sequence[PushKey]) -> list[RowMapping]:
    of_item = (items.c.item_id == review_tasks.c.item_id) & (items.c.revision == review_tasks.c.revision)
    columns = (review_tasks.c.push_key, review_tasks.c.round.label("asked_in"), items.c.item_id, items.c.revision)
    known = sa.select(*columns, items.c.state, items.c.round, items.c.needs_resolve)
    known = known.select_from(review_tasks.join(items, of_item))
    wanted = known.where(review_tasks.c.push_key.in_(keys), review_tasks.c.state.in_(_NEEDED))
    return list(connection.execute(wanted).mappings())


def _is_to_be_settled(row: RowMapping) -> bool:
    """Its answers may be complete: they are looked at before anybody is asked again."""
    return row["needs_resolve"] is not None and row["state"] in _SETTLED_FIRST


def _waits(row: RowMapping) -> bool:
    return row["asked_in"] == row["round"] and row["state"] in OPEN


def _asked_again(row: RowMapping, reason: str, at: datetime) -> Event:
    detail: dict[str, JSON] = {"from": row["state"], "revision": row["revision"], "reason": reason, "round": row["round"] + 1}
    return Event(at=at, action=ItemState.QUEUED.value, item_id=row["item_id"], detail=detail)


_CLOSE = (
    sa.update(review_tasks)
    .where(review_tasks.c.push_key == bindparam("key"))
    .values(state=TaskState.CLOSED, state_reason=bindparam("why"))
)
_NEXT_ROUND = (
    sa.update(items)
    .where(items.c.item_id == bindparam("of_item"), items.c.revision == bindparam("of_revision"))
    .values(state=ItemState.QUEUED, round=items.c.round + 1)
)
