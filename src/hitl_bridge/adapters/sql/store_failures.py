"""Items that were set aside, and asking for another try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping, bindparam

from hitl_bridge.adapters.sql.rows import item_of, project_key_of, project_of
from hitl_bridge.adapters.sql.statements import chunks, is_latest_revision, items_with_input, record_events, update_each
from hitl_bridge.adapters.sql.tables import annotation_revisions, attempts, items, projects, review_tasks
from hitl_bridge.core.model import JSON, Item, ItemId, ItemState, Project, ProjectKey, PushKey, TaskState
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import Event, FailedItem, item_subject

ASIDE = (ItemState.QUARANTINED, ItemState.FAILED)


def failed_items(connection: Connection) -> list[FailedItem]:
    aside = items_with_input().where(items.c.state.in_(ASIDE), is_latest_revision()).order_by(items.c.item_id)
    rows = connection.execute(aside).mappings().all()
    tasks, there = _tasks(connection, rows), _projects(connection) if rows else {}
    return [_failed(row, tasks.get((row["item_id"], row["revision"], row["round"])), there) for row in rows]


def requeue(connection: Connection, again: Sequence[Item], by: str, reason: str, at: datetime) -> None:
    for some in chunks(again):
        ids = [item.item_id for item in some]
        rows = connection.execute(sa.select(items).where(items.c.item_id.in_(ids))).mappings()
        before = {(row["item_id"], row["revision"]): row for row in rows}
        moved = [before[item.item_id, item.revision] for item in some]
        _refuse_unless_aside(moved)
        parameters = [{"of_item": row["item_id"], "of_revision": row["revision"]} for row in moved]
        update_each(connection, _NEXT_ROUND, parameters)
        update_each(connection, _CLOSE_PROMISES, parameters)
        subjects = [item_subject(row["item_id"], row["revision"]) for row in moved]
        connection.execute(sa.delete(attempts).where(attempts.c.subject.in_(subjects)))
        record_events(connection, [_event(row, by, reason, at) for row in moved])


def give_up(connection: Connection, keys: Sequence[PushKey], reason: str, at: datetime) -> None:
    """Tasks that nobody survives making: REJECTED with the reason, and their items FAILED."""
    for some in chunks(keys):
        wanted = sa.select(review_tasks).where(review_tasks.c.push_key.in_(some), review_tasks.c.state.in_(_PROMISED))
        given_up = connection.execute(wanted).mappings().all()
        parameters = [
            {"key": row["push_key"], "of_item": row["item_id"], "of_revision": row["revision"], "of_round": row["round"]}
            for row in given_up
        ]
        why = {"state_reason": reason}
        update_each(connection, _REJECTED.values(why), [{"key": each["key"]} for each in parameters])
        update_each(connection, _FAILED.values(why), [{k: v for k, v in each.items() if k != "key"} for each in parameters])
        connection.execute(sa.delete(attempts).where(attempts.c.subject.in_(some)))
        record_events(connection, [_failed_event(row, reason, at) for row in given_up])


def _refuse_unless_aside(rows: Sequence[RowMapping]) -> None:
    for row in rows:
        if row["state"] not in ASIDE:
            raise UsageError(
                f"Item {row['item_id']!r} is {row['state']}: there is nothing to try again.",
                remedy="hitl-bridge failures list tells what can be retried.",
            )


def _tasks(connection: Connection, rows: Sequence[RowMapping]) -> Mapping[tuple[str, int, int], RowMapping]:
    found: dict[tuple[str, int, int], RowMapping] = {}
    for some in chunks([row["item_id"] for row in rows]):
        wanted = sa.select(review_tasks).where(review_tasks.c.item_id.in_(some)).order_by(review_tasks.c.seat.desc())
        for task in connection.execute(wanted).mappings():
            found[task["item_id"], task["revision"], task["round"]] = task
    return found


def _failed(row: RowMapping, task: RowMapping | None, there: Mapping[ProjectKey, Project]) -> FailedItem:
    return FailedItem(
        item=item_of(row),
        reason=row["state_reason"],
        project=None if task is None else there.get(project_key_of(task)),
        push_key=None if task is None else task["push_key"],
    )


def _projects(connection: Connection) -> Mapping[ProjectKey, Project]:
    rows = connection.execute(sa.select(projects)).mappings()
    return {project.key: project for project in map(project_of, rows)}


def _event(row: RowMapping, by: str, reason: str, at: datetime) -> Event:
    detail: dict[str, JSON] = {
        "from": row["state"],
        "revision": row["revision"],
        "round": row["round"] + 1,
        "why": row["state_reason"],
        "reason": reason,
    }
    return Event(at, "retried", ItemId(row["item_id"]), detail, by)


def _failed_event(row: RowMapping, reason: str, at: datetime) -> Event:
    detail: dict[str, JSON] = {"push_key": row["push_key"], "revision": row["revision"], "round": row["round"], "reason": reason}
    return Event(at, ItemState.FAILED.value, ItemId(row["item_id"]), detail)


_PROMISED = (TaskState.INTENDED, TaskState.UNKNOWN)
_IS_ITEM = (items.c.item_id == bindparam("of_item")) & (items.c.revision == bindparam("of_revision"))

# Answers that it has already are looked at anew: after a death nobody knows whether they were.
_NEWEST_ANSWER = (
    sa.select(sa.func.max(annotation_revisions.c.id))
    .join(review_tasks, review_tasks.c.push_key == annotation_revisions.c.push_key)
    .where(review_tasks.c.item_id == items.c.item_id, review_tasks.c.revision == items.c.revision)
    .scalar_subquery()
)
_NEXT_ROUND = (
    sa.update(items)
    .where(_IS_ITEM)
    .values(state=ItemState.QUEUED, state_reason="", round=items.c.round + 1, needs_resolve=_NEWEST_ANSWER)
)
_CLOSE_PROMISES = (
    sa.update(review_tasks)
    .where(review_tasks.c.item_id == bindparam("of_item"), review_tasks.c.revision == bindparam("of_revision"))
    .where(review_tasks.c.state == TaskState.INTENDED)
    .values(state=TaskState.CLOSED)
)
_REJECTED = sa.update(review_tasks).where(review_tasks.c.push_key == bindparam("key")).values(state=TaskState.REJECTED)
_FAILED = (
    sa.update(items)
    .where(_IS_ITEM, items.c.round == bindparam("of_round"), items.c.state == ItemState.QUEUED)
    .values(state=ItemState.FAILED)
)
