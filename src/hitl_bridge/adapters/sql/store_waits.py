"""Queued items that wait for room in the review budget."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hitl_bridge.adapters.sql.rows import item_of
from hitl_bridge.adapters.sql.statements import (
    chunks,
    insert_new,
    is_latest_revision,
    items_with_input,
    record_events,
    update_each,
)
from hitl_bridge.adapters.sql.tables import items, review_tasks, waits
from hitl_bridge.core.model import Item, ItemState, Purpose, TaskState
from hitl_bridge.core.task_types.outputs import is_one_label
from hitl_bridge.core.triage.selection import doubt
from hitl_bridge.ports import Event
from hitl_bridge.ports.waits import Identity, Pick, RecordedSelection, Spent, WaitingItem

_FIRST = 1
"""The round of an item that nobody has begun to judge."""

_OF_ITEM = (waits.c.item_id == items.c.item_id) & (waits.c.revision == items.c.revision)
_TASK_OF_ITEM = (review_tasks.c.item_id == items.c.item_id) & (review_tasks.c.revision == items.c.revision)
_CAME_BY_RISK = (items.c.purpose == Purpose.REVIEW) & items.c.rule.is_(None)
_QUEUED_FIRST = (items.c.state == ItemState.QUEUED) & (items.c.round == _FIRST)


def is_waiting() -> sa.ColumnElement[bool]:
    """Of a row of `items`: it waits for room in the budget."""
    return sa.exists().where(_OF_ITEM, waits.c.picked_at.is_(None)) & _QUEUED_FIRST


def queued(connection: Connection) -> list[Item]:
    wanted = items_with_input().where(items.c.state == ItemState.QUEUED, ~is_waiting(), is_latest_revision())
    ordered = wanted.order_by(items.c.priority, items.c.received_at, items.c.item_id)
    return [item_of(row) for row in connection.execute(ordered).mappings()]


def waiting(connection: Connection) -> list[WaitingItem]:
    """Without inputs: this reads all that wait, and few of them are picked."""
    columns = (items.c.item_id, items.c.revision, items.c.model_version, items.c.scores, items.c.confidence, items.c.output)
    wanted = _still_waiting(sa.select(*columns, waits.c.since)).order_by(items.c.item_id)
    return [
        WaitingItem(item_id, revision, model_version, doubt(scores, confidence, exclusive=is_one_label(output)), since)
        for item_id, revision, model_version, scores, confidence, output, since in connection.execute(wanted)
    ]


def waiting_count(connection: Connection) -> int:
    return int(connection.execute(_still_waiting(sa.select(sa.func.count()))).scalar_one())


def _still_waiting(wanted: sa.Select[Any]) -> sa.Select[Any]:
    """A queued revision is the latest: the one before it is withdrawn when it comes."""
    return wanted.select_from(waits.join(items, _OF_ITEM)).where(waits.c.picked_at.is_(None), _QUEUED_FIRST)


def items_of(connection: Connection, identities: Sequence[Identity]) -> list[Item]:
    wanted, found = set(identities), []
    for some in chunks(sorted({item_id for item_id, _ in wanted})):
        rows = connection.execute(items_with_input().where(items.c.item_id.in_(some))).mappings()
        found += [item_of(row) for row in rows if (row["item_id"], row["revision"]) in wanted]
    return found


def spent(connection: Connection, since: datetime) -> Spent:
    first_task = (review_tasks.c.round == _FIRST) & (review_tasks.c.sent_at >= since)
    joined = sa.select(sa.func.count()).select_from(review_tasks.join(items, _TASK_OF_ITEM))
    sent = joined.where(first_task, _CAME_BY_RISK, ~_QUEUED_FIRST)
    return Spent(int(connection.execute(sent).scalar_one()), _promised(connection, since))


def _promised(connection: Connection, since: datetime) -> frozenset[Identity]:
    """Tasks on their way, and items that were picked and not promised before the process ended."""
    identity = sa.select(items.c.item_id, items.c.revision)
    on_its_way = review_tasks.c.state.in_((TaskState.INTENDED, TaskState.UNKNOWN)) & (review_tasks.c.round == _FIRST)
    either = (
        identity.select_from(items.join(review_tasks, _TASK_OF_ITEM)).where(on_its_way),
        identity.select_from(items.join(waits, _OF_ITEM)).where(waits.c.picked_at >= since),
    )
    found = [connection.execute(each.where(_QUEUED_FIRST, _CAME_BY_RISK)) for each in either]
    return frozenset((item_id, revision) for rows in found for item_id, revision in rows)


def record_selection(connection: Connection, selection: RecordedSelection, at: datetime) -> None:
    rows = [{"item_id": each.item_id, "revision": each.revision, "since": at} for each in _concerned(selection)]
    for some in chunks(rows):
        insert_new(connection, waits, some)
    for left in chunks([item.item_id for item in selection.left]):
        again = sa.update(waits).where(waits.c.item_id.in_(left), waits.c.picked_at.is_not(None))
        connection.execute(again.where(sa.exists().where(_OF_ITEM, _QUEUED_FIRST)).values(picked_at=None))
    update_each(connection, _PICKED, [_picked(pick, at) for pick in selection.picks])
    update_each(connection, _ROUTED, [_routed(pick.item) for pick in selection.picks])
    if selection:
        record_events(connection, [Event(at=at, action="selected", detail=selection.detail)])


def _concerned(selection: RecordedSelection) -> Sequence[Item]:
    return [*(pick.item for pick in selection.picks), *selection.left]


_PICKED = (
    sa.update(waits)
    .where(waits.c.item_id == bindparam("of_item"), waits.c.revision == bindparam("of_revision"))
    .values(picked_at=bindparam("at"), arm=bindparam("by_arm"), probability=bindparam("with_probability"))
)
_ROUTED = (
    sa.update(items)
    .where(items.c.item_id == bindparam("of_item"), items.c.revision == bindparam("of_revision"))
    .values(due_at=bindparam("due"), priority=bindparam("served"), route_reason=bindparam("why"))
)


def _picked(pick: Pick, at: datetime) -> dict[str, Any]:
    identity = {"of_item": pick.item.item_id, "of_revision": pick.item.revision}
    return {**identity, "at": at, "by_arm": pick.arm.value, "with_probability": pick.probability}


def _routed(item: Item) -> dict[str, Any]:
    route = item.route
    identity = {"of_item": item.item_id, "of_revision": item.revision}
    return {**identity, "due": route.due_at, "served": route.priority, "why": route.reason}
