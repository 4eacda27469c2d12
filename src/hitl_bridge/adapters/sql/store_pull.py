"""Pull: revisions of annotations, the cursor that covers them, and the mark on their items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping, bindparam

from hitl_bridge.adapters.sql.rows import annotation_of, annotation_row, moment_sort_key, task_of
from hitl_bridge.adapters.sql.statements import chunks, insert_new_returning, insert_or_update, one_of, update_each
from hitl_bridge.adapters.sql.tables import annotation_revisions, cursors, items, review_tasks
from hitl_bridge.core.model import Annotation, AnnotationState, ItemState, ProjectId, PushKey, ReviewTask
from hitl_bridge.core.sync import is_foreign

_WITHOUT_REVIEW = (ItemState.AUTO_APPROVED, ItemState.WITHDRAWN)


def cursor(connection: Connection, project_id: ProjectId) -> str | None:
    found = connection.execute(sa.select(cursors.c.position).where(cursors.c.project_id == project_id)).scalar()
    return None if found is None else str(found)


def tasks_by_key(connection: Connection, keys: Sequence[PushKey]) -> Mapping[PushKey, ReviewTask]:
    found: list[ReviewTask] = []
    for some in chunks(keys):
        rows = connection.execute(sa.select(review_tasks).where(review_tasks.c.push_key.in_(some))).mappings()
        found += [task_of(row) for row in rows]
    return {task.push_key: task for task in found}


def annotations_of(connection: Connection, keys: Sequence[PushKey]) -> list[Annotation]:
    return latest_revisions(_revisions_on(connection, keys))


def standing_annotations(connection: Connection, keys: Sequence[PushKey]) -> list[Annotation]:
    return revisions_in_force(_revisions_on(connection, keys))


def _revisions_on(connection: Connection, keys: Sequence[PushKey]) -> list[RowMapping]:
    found: list[RowMapping] = []
    for some in chunks(keys):
        found += connection.execute(sa.select(annotation_revisions).where(annotation_revisions.c.push_key.in_(some))).mappings()
    return found


def latest_revisions(rows: Iterable[RowMapping]) -> list[Annotation]:
    """Of each annotation on a task the newest revision, oldest annotation first.

    Newest by the labeling service's time, not by arrival: a pull that was held up may bring an old revision after a new
    one. But a deletion counts whenever it arrives: its time is that of the task, which not every edit moves.
    """
    return _last_of_each(rows, lambda row: (True, _age(row)))


def revisions_in_force(rows: Iterable[RowMapping]) -> list[Annotation]:
    """Like `latest_revisions`, without those deleted; and what somebody else made of an annotation takes nothing from what
    its author said last."""
    last = _last_of_each(rows, lambda row: (not _is_foreign_edit(row), _age(row)))
    return [each for each in last if each.state != AnnotationState.TOMBSTONE]


def _last_of_each(rows: Iterable[RowMapping], rank: Callable[[RowMapping], tuple[bool, str]]) -> list[Annotation]:
    last: dict[tuple[int, int, int, str], RowMapping] = {}
    for row in sorted(rows, key=lambda row: int(row["id"])):
        identity = (row["project_id"], row["task_id"], row["annotation_id"], row["created_at"])
        before = last.get(identity)
        if before is None or row["state"] == AnnotationState.TOMBSTONE or rank(row) >= rank(before):
            last[identity] = row
    return [annotation_of(row) for row in last.values()]


def _age(row: RowMapping) -> str:
    return moment_sort_key(row["updated_at"])


def _is_foreign_edit(row: RowMapping) -> bool:
    return row["state"] == AnnotationState.QUARANTINED and is_foreign(row["reviewer"], row["updated_by"])


def record_pull(
    connection: Connection, project_id: ProjectId, revisions: Sequence[Annotation], position: str | None, at: datetime
) -> int:
    rows = [{**annotation_row(revision), "recorded_at": at} for revision in revisions]
    columns = (annotation_revisions.c.id, annotation_revisions.c.push_key, annotation_revisions.c.state)
    new = insert_new_returning(connection, annotation_revisions, rows, columns)
    _mark(connection, new)
    _answered(connection, {row["push_key"] for row in new if row["state"] == AnnotationState.ANSWER})
    insert_or_update(connection, cursors, {"project_id": project_id, "position": position, "at": at}, key=("project_id",))
    return len(new)


def _mark(connection: Connection, new: Sequence[RowMapping]) -> None:
    newest: dict[str, int] = {}
    for row in new:
        newest[row["push_key"]] = max(row["id"], newest.get(row["push_key"], 0))
    statement = (
        sa.update(items)
        .where(*_is_item_of_task(), ~one_of(items.c.state, _WITHOUT_REVIEW), review_tasks.c.push_key == bindparam("key"))
        .where(sa.func.coalesce(items.c.needs_resolve, 0) < bindparam("mark", type_=sa.BigInteger))
        .values(needs_resolve=bindparam("mark", type_=sa.BigInteger))
    )
    update_each(connection, statement, [{"key": key, "mark": mark} for key, mark in newest.items()])


def _answered(connection: Connection, keys: Iterable[PushKey]) -> None:
    statement = (
        sa.update(items)
        .where(*_is_item_of_task(), items.c.round == review_tasks.c.round, items.c.state == ItemState.PUSHED)
        .where(review_tasks.c.push_key == bindparam("key"))
        .values(state=ItemState.ANSWERED)
    )
    update_each(connection, statement, [{"key": key} for key in sorted(keys)])


def _is_item_of_task() -> tuple[sa.ColumnElement[Any], ...]:
    return (items.c.item_id == review_tasks.c.item_id, items.c.revision == review_tasks.c.revision)
