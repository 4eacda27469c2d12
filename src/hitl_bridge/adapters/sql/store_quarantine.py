"""Revisions that can't be believed, and what a person said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from hitl_bridge.adapters.sql.audit_log import Seal
from hitl_bridge.adapters.sql.rows import annotation_of, answer_json, project_of
from hitl_bridge.adapters.sql.rulings import ACCEPT, DROP, RevisionRow, ruled_on
from hitl_bridge.adapters.sql.statements import chunks, record_events
from hitl_bridge.adapters.sql.store_pull import latest_rows
from hitl_bridge.adapters.sql.tables import annotation_revisions, items, projects, review_tasks, rulings, unreadable_tasks
from hitl_bridge.core.model import JSON, AnnotationState, ItemId, ItemState, Project, ProjectId, TaskId
from hitl_bridge.errors import UnknownName
from hitl_bridge.ports import Event, QuarantinedRevision, Ruling, UnreadableTask

_SETTLED_ELSEWHERE = (ItemState.AUTO_APPROVED, ItemState.WITHDRAWN)


def quarantined(connection: Connection) -> list[QuarantinedRevision]:
    rows = quarantined_rows(connection)
    of_task, by_id = items_of_tasks(connection, rows), _projects(connection) if rows else {}
    return [
        QuarantinedRevision(
            number=row["id"],
            annotation=annotation_of(row),
            item_id=of_task[row["push_key"]]["item_id"] if row["push_key"] in of_task else None,
            project=by_id.get(row["project_id"]),
        )
        for row in rows
    ]


def quarantined_rows(connection: Connection) -> list[RevisionRow]:
    """The newest revision of each annotation, where that is quarantined and nobody has ruled on it: a good revision since
    settles it, too."""
    quarantined = annotation_revisions.alias("quarantined")
    identity = ("project_id", "annotation_id", "task_id", "created_at")
    ever = sa.select(*(quarantined.c[name] for name in identity)).where(_quarantined_literally(quarantined))
    same = sa.tuple_(*(annotation_revisions.c[name] for name in identity)).in_(ever)
    newest = latest_rows(connection.execute(sa.select(annotation_revisions).where(same)).mappings())
    standing = [row for row in newest if row["state"] == AnnotationState.QUARANTINED]
    settled = ruled_on(connection, [row["id"] for row in standing])
    return [row for row in standing if row["id"] not in settled]


def items_of_tasks(connection: Connection, standing: Sequence[RevisionRow]) -> Mapping[str, RowMapping]:
    """Item and revision of the task that each of these revisions is on, by push key."""
    keys = sorted({row["push_key"] for row in standing})
    found: dict[str, RowMapping] = {}
    columns = (review_tasks.c.push_key, review_tasks.c.item_id, review_tasks.c.revision)
    for some in chunks(keys):
        rows = connection.execute(sa.select(*columns).where(review_tasks.c.push_key.in_(some))).mappings()
        found |= {row["push_key"]: row for row in rows}
    return found


def unreadable(connection: Connection) -> list[UnreadableTask]:
    of_task = (review_tasks.c.project_id == unreadable_tasks.c.project_id) & (
        review_tasks.c.task_id == unreadable_tasks.c.task_id
    )
    wanted = sa.select(unreadable_tasks, review_tasks.c.item_id).select_from(unreadable_tasks.outerjoin(review_tasks, of_task))
    rows = connection.execute(wanted.order_by(unreadable_tasks.c.since, unreadable_tasks.c.task_id)).mappings().all()
    by_id = _projects(connection) if rows else {}
    return [
        UnreadableTask(
            ProjectId(row["project_id"]),
            TaskId(row["task_id"]),
            row["reason"],
            row["since"],
            row["item_id"],
            by_id.get(row["project_id"]),
        )
        for row in rows
    ]


def rule(connection: Connection, ruling: Ruling, seal: Seal) -> None:
    row = next((each for each in quarantined_rows(connection) if each["id"] == ruling.number), None)
    if row is None:
        raise UnknownName("quarantined annotation", str(ruling.number), remedy="hitl-bridge quarantine list tells what there is.")
    accepts = ruling.answer is not None
    said = {"verdict": ACCEPT if accepts else DROP, "by": ruling.by, "reason": ruling.reason, "at": ruling.at}
    answer = None if ruling.answer is None else answer_json(ruling.answer)
    connection.execute(sa.insert(rulings).values(annotation=ruling.number, answer=answer, **said))
    task = items_of_tasks(connection, [row]).get(row["push_key"])
    if task is not None:
        _mark(connection, task, ruling.number)
    record_events(connection, [_event(row, ruling, None if task is None else ItemId(task["item_id"]), seal)])


def _mark(connection: Connection, task: RowMapping, number: int) -> None:
    """What a person says is news of the item as an annotation is; it was recorded long ago, though, so its own number says
    nothing about who has looked at it. Nobody resolves meanwhile: both hold the same lease."""
    is_item = (items.c.item_id == task["item_id"], items.c.revision == task["revision"])
    mark = sa.case((items.c.needs_resolve > number, items.c.needs_resolve), else_=number)
    reviewed = ~items.c.state.in_(_SETTLED_ELSEWHERE)
    connection.execute(sa.update(items).where(*is_item, reviewed).values(needs_resolve=mark))


def _event(row: RevisionRow, ruling: Ruling, item_id: ItemId | None, seal: Seal) -> Event:
    """Says nothing of the answer: an audit log is read by people who may not know it."""
    before = annotation_of(row)
    detail: dict[str, JSON] = {
        "row": ruling.number,
        "annotation": before.key,
        "task_id": before.task_id,
        "why": before.reason,
        "reason": ruling.reason,
    }
    if ruling.answer is None:
        return Event(ruling.at, "quarantine_dropped", item_id, detail, ruling.by, before=seal.annotation(before))
    after = replace(before, state=AnnotationState.ANSWER, answer=ruling.answer)
    return Event(ruling.at, "quarantine_accepted", item_id, detail, ruling.by, seal.annotation(before), seal.annotation(after))


def _projects(connection: Connection) -> Mapping[int, Project]:
    return {row["project_id"]: project_of(row) for row in connection.execute(sa.select(projects)).mappings()}


def _quarantined_literally(table: sa.FromClause) -> sa.ColumnElement[bool]:
    # Not as a bound parameter: the partial index is used only where its condition stands in the statement.
    return table.c.state == sa.literal_column(f"'{AnnotationState.QUARANTINED}'")
