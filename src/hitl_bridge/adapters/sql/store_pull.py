"""Pull: revisions of annotations, the cursor that covers them, and the mark on their items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping, bindparam

from hitl_bridge.adapters.sql.audit_log import ANNOTATION_EVENT, Seal
from hitl_bridge.adapters.sql.rows import Row, annotation_of, annotation_row, moment_sort_key, task_of
from hitl_bridge.adapters.sql.rulings import TAKEN_BACK, RevisionRow, with_rulings
from hitl_bridge.adapters.sql.statements import (
    chunks,
    insert_new_returning,
    insert_or_update,
    one_of,
    record_events,
    update_each,
)
from hitl_bridge.adapters.sql.tables import annotation_revisions, cursors, items, review_tasks
from hitl_bridge.core.model import Annotation, AnnotationState, ItemId, ItemState, ProjectId, PushKey, ReviewTask
from hitl_bridge.core.sync import is_foreign
from hitl_bridge.ports import Event

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
    """In each epoch the latest: after a restore an annotation can be older than what we hold of it."""
    by_epoch: dict[int, list[RowMapping]] = {}
    for row in _revisions_on(connection, keys):
        by_epoch.setdefault(row["epoch"], []).append(row)
    return [each for rows in by_epoch.values() for each in latest_revisions(rows)]


def standing_annotations(connection: Connection, keys: Sequence[PushKey]) -> list[Annotation]:
    return revisions_in_force(with_rulings(connection, _revisions_on(connection, keys)))


def _revisions_on(connection: Connection, keys: Sequence[PushKey]) -> list[RowMapping]:
    found: list[RowMapping] = []
    for some in chunks(keys):
        found += connection.execute(sa.select(annotation_revisions).where(annotation_revisions.c.push_key.in_(some))).mappings()
    return found


def latest_revisions(rows: Iterable[RevisionRow]) -> list[Annotation]:
    """Of each annotation on a task the newest revision, oldest annotation first."""
    return [annotation_of(row) for row in latest_rows(rows)]


def latest_rows(rows: Iterable[RevisionRow]) -> list[RevisionRow]:
    """The rows of `latest_revisions`.

    Newest by arrival: the labeling service's clock can be set back, and only the holder of the lease writes, so nobody
    brings an old revision after a new one. But what a restored backup holds of an annotation, seen in a later epoch, is
    newest only if it is not older by its own time than what we had.
    """
    return _last_of_each(rows, _is_newer)


def revisions_in_force(rows: Iterable[RevisionRow]) -> list[Annotation]:
    """Like `latest_revisions`, without those deleted; and what somebody else made of an annotation takes nothing from what
    its author said last. `rows` come `with_rulings`: an edit that a person has accepted is the author's own, and one that was
    taken back leaves in force what the author had said before."""
    last = _last_of_each(rows, _is_in_force_after)
    return [annotation_of(row) for row in last if row["state"] != AnnotationState.TOMBSTONE]


def deleted_answers(rows: Iterable[RevisionRow]) -> list[Annotation]:
    """Of each annotation that was deleted what it last said, if it was an answer. `rows` as for `revisions_in_force`."""
    given = list(rows)
    gone = {_identity(row) for row in _last_of_each(given, _is_in_force_after) if row["state"] == AnnotationState.TOMBSTONE}
    said = [row for row in given if row["state"] == AnnotationState.ANSWER and _identity(row) in gone]
    return [annotation_of(row) for row in _last_of_each(said, _is_newer)]


def _last_of_each(rows: Iterable[RevisionRow], replaces: Callable[[RevisionRow, RevisionRow], bool]) -> list[RevisionRow]:
    last: dict[tuple[int, int, int, str], RevisionRow] = {}
    for row in sorted(rows, key=lambda row: int(row["id"])):
        identity = _identity(row)
        before = last.get(identity)
        if before is None or replaces(row, before):
            last[identity] = row
    return list(last.values())


def _identity(row: RevisionRow) -> tuple[int, int, int, str]:
    return row["project_id"], row["task_id"], row["annotation_id"], row["created_at"]


def _is_newer(row: RevisionRow, before: RevisionRow) -> bool:
    return row["epoch"] == before["epoch"] or row["state"] == AnnotationState.TOMBSTONE or _age(row) >= _age(before)


def _is_in_force_after(row: RevisionRow, before: RevisionRow) -> bool:
    if row["state"] != AnnotationState.TOMBSTONE and _is_taken_back(row) != _is_taken_back(before):
        return _is_taken_back(before)
    if row["state"] != AnnotationState.TOMBSTONE and _is_foreign_edit(row) != _is_foreign_edit(before):
        return _is_foreign_edit(before)
    return _is_newer(row, before)


def _age(row: RevisionRow) -> str:
    return moment_sort_key(row["updated_at"])


def _is_taken_back(row: RevisionRow) -> bool:
    return bool(row.get(TAKEN_BACK, False))


def _is_foreign_edit(row: RevisionRow) -> bool:
    return row["state"] == AnnotationState.QUARANTINED and is_foreign(row["reviewer"], row["updated_by"])


def record_pull(
    connection: Connection,
    project_id: ProjectId,
    revisions: Sequence[Annotation],
    position: str | None,
    at: datetime,
    seal: Seal,
) -> int:
    rows = [{**annotation_row(revision), "recorded_at": at} for revision in revisions]
    new = insert_new_returning(connection, annotation_revisions, rows, list(annotation_revisions.c))
    record_events(connection, _events(connection, new, at, seal))
    _mark(connection, new)
    _answered(connection, {row["push_key"] for row in new if row["state"] == AnnotationState.ANSWER})
    keep_cursor(connection, {"project_id": project_id, "position": position, "at": at})
    return len(new)


def keep_cursor(connection: Connection, row: Row) -> None:
    """The columns that `row` names."""
    insert_or_update(connection, cursors, row, key=("project_id",))


def _events(connection: Connection, new: Sequence[RowMapping], at: datetime, seal: Seal) -> list[Event]:
    """One event a revision: who (by pseudonym), on which item, what it was before and what it is now (by digest)."""
    keys = sorted({PushKey(row["push_key"]) for row in new})
    items_of = {task.push_key: task.item_id for task in tasks_by_key(connection, keys).values()}
    before: dict[int, RowMapping | None] = {}
    last: dict[tuple[int, int, str], RowMapping] = {}
    for row in sorted(_revisions_on(connection, keys), key=lambda row: int(row["id"])):
        identity = (row["project_id"], row["annotation_id"], row["created_at"])
        before[row["id"]], last[identity] = last.get(identity), row
    return [_event(row, before.get(row["id"]), items_of.get(row["push_key"]), at, seal) for row in new]


def _event(row: RowMapping, before: RowMapping | None, item_id: ItemId | None, at: datetime, seal: Seal) -> Event:
    revision = annotation_of(row)
    return Event(
        at=at,
        action=ANNOTATION_EVENT,
        item_id=item_id,
        detail={"row": row["id"], "annotation": revision.key, "task_id": revision.task_id, "state": revision.state.value},
        actor=seal.person(revision.updated_by or revision.reviewer),
        before=None if before is None else seal.annotation(annotation_of(before)),
        after=seal.annotation(revision),
    )


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
