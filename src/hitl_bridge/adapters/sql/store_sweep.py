"""Sweeping: what is known of a whole project, what the labeling service can't show, and epochs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from hitl_bridge.adapters.sql.rows import annotation_of
from hitl_bridge.adapters.sql.statements import chunks, insert_new, record_events
from hitl_bridge.adapters.sql.store_pull import keep_cursor, latest_rows, tasks_by_key
from hitl_bridge.adapters.sql.store_push import of_project
from hitl_bridge.adapters.sql.tables import annotation_revisions, cursors, projects, review_tasks, unreadable_tasks
from hitl_bridge.core.model import Annotation, AnnotationId, AnnotationState, Project, ProjectId, PushKey, TaskId, TaskState
from hitl_bridge.core.sweep import KnownTask, Version
from hitl_bridge.ports import Event, RemoteTaskState

_COLUMNS = [
    annotation_revisions.c[name]
    for name in ("id", "project_id", "task_id", "annotation_id", "push_key", "created_at", "updated_at", "state", "epoch")
]
_REVISIONS_OF_ONE = 4
"""About so many revisions an annotation has at most: how many rows to read for a number of annotations."""


def swept_at(connection: Connection, project_id: ProjectId) -> datetime | None:
    found: datetime | None = connection.execute(sa.select(cursors.c.swept_at).where(cursors.c.project_id == project_id)).scalar()
    return found


def record_sweep(connection: Connection, project_id: ProjectId, at: datetime, strangers: int) -> None:
    keep_cursor(connection, {"project_id": project_id, "at": at, "swept_at": at, "strangers": strangers})


def strangers(connection: Connection, project_id: ProjectId) -> int:
    found = connection.execute(sa.select(cursors.c.strangers).where(cursors.c.project_id == project_id)).scalar()
    return int(found or 0)


def tasks_there(connection: Connection, project: Project) -> int:
    """A task that is closed without a reason is no longer needed, and still there."""
    is_there = (review_tasks.c.state == TaskState.LIVE) | (
        (review_tasks.c.state == TaskState.CLOSED) & (review_tasks.c.state_reason == "") & review_tasks.c.task_id.is_not(None)
    )
    counted = sa.select(sa.func.count()).select_from(review_tasks).where(of_project(project.key), is_there)
    return connection.execute(counted).scalar_one()


def begin_epoch(connection: Connection, project: Project, at: datetime) -> Project:
    connection.execute(sa.update(projects).where(projects.c.project_id == project.project_id).values(epoch=projects.c.epoch + 1))
    keep_cursor(connection, {"project_id": project.project_id, "at": at, "position": None, "swept_at": None})
    epoch = connection.execute(sa.select(projects.c.epoch).where(projects.c.project_id == project.project_id)).scalar_one()
    begun = Project(project.key, project.project_id, project.title, project.url, project.label_config_sha256, epoch)
    detail = {"project_id": project.project_id, "epoch": epoch}
    record_events(connection, [Event(at=at, action="restore_accepted", detail=detail)])
    return begun


def what_is_known(connection: Connection, project: Project) -> Mapping[TaskId, KnownTask]:
    wanted = sa.select(review_tasks.c.push_key, review_tasks.c.task_id, review_tasks.c.task_created_at)
    live = wanted.where(review_tasks.c.state == TaskState.LIVE, of_project(project.key))
    versions = _standing_versions(connection, project)
    ours = {
        row["push_key"]: (row["task_id"], KnownTask(row["push_key"], row["task_created_at"]))
        for row in connection.execute(live).mappings()
    }
    doubles = {task_id: KnownTask(key, "") for key, task_id in versions if key in ours and task_id != ours[key][0]}
    known = {**doubles, **dict(ours.values())}
    return {
        TaskId(task_id): replace(task, versions=frozenset(versions[PushKey(task.push_key), task_id]))
        for task_id, task in known.items()
    }


def _standing_versions(connection: Connection, project: Project) -> defaultdict[tuple[PushKey, int], list[Version]]:
    """The annotations that stand, by the key and the id of their task."""
    ours = (annotation_revisions.c.project_id == project.project_id) & (annotation_revisions.c.epoch == project.epoch)
    rows = connection.execute(sa.select(*_COLUMNS).where(ours)).mappings()
    versions: defaultdict[tuple[PushKey, int], list[Version]] = defaultdict(list)
    for row in latest_rows(rows):
        if row["state"] != AnnotationState.TOMBSTONE:
            version = (AnnotationId(row["annotation_id"]), row["created_at"], row["updated_at"])
            versions[row["push_key"], row["task_id"]].append(version)
    return versions


def newest_annotations(connection: Connection, project: Project, most: int) -> list[Annotation]:
    table = annotation_revisions.c
    ours = (table.project_id == project.project_id) & (table.epoch == project.epoch)
    newest = sa.select(annotation_revisions).where(ours).order_by(table.annotation_id.desc()).limit(most * _REVISIONS_OF_ONE)
    found = list(connection.execute(newest).mappings())
    cut_off = found[-1]["annotation_id"] if len(found) == most * _REVISIONS_OF_ONE else None
    rows = latest_rows([row for row in found if row["annotation_id"] != cut_off])
    standing = [annotation_of(row) for row in rows if row["state"] != AnnotationState.TOMBSTONE]
    tasks = tasks_by_key(connection, [each.push_key for each in standing])
    live = {(task.push_key, task.task_id) for task in tasks.values() if task.state is TaskState.LIVE}
    here = [each for each in standing if (each.push_key, each.task_id) in live]
    return sorted(here, key=lambda each: each.annotation_id, reverse=True)[:most]


def standing_before(connection: Connection, project: Project) -> list[Annotation]:
    rows = list(
        connection.execute(
            sa.select(annotation_revisions).where(annotation_revisions.c.project_id == project.project_id)
        ).mappings()
    )
    present = {_identity(row) for row in rows if row["epoch"] == project.epoch}
    last = latest_rows([row for row in rows if row["epoch"] < project.epoch and _identity(row) not in present])
    return [annotation_of(row) for row in last if row["state"] != AnnotationState.TOMBSTONE]


def _identity(row: RowMapping) -> tuple[int, str]:
    return row["annotation_id"], row["created_at"]


def unreadable(connection: Connection, project_id: ProjectId) -> Mapping[TaskId, str]:
    rows = connection.execute(sa.select(unreadable_tasks).where(unreadable_tasks.c.project_id == project_id)).mappings()
    return {TaskId(row["task_id"]): row["reason"] for row in rows}


def record_unreadable(connection: Connection, project_id: ProjectId, tasks: Sequence[RemoteTaskState], at: datetime) -> None:
    before = unreadable(connection, project_id)
    new = [task for task in tasks if task.unreadable and task.task_id not in before]
    again = [task for task in tasks if not task.unreadable and task.task_id in before]
    insert_new(
        connection,
        unreadable_tasks,
        [{"project_id": project_id, "task_id": task.task_id, "reason": task.unreadable, "since": at} for task in new],
    )
    for some in chunks([task.task_id for task in again]):
        here = (unreadable_tasks.c.project_id == project_id) & unreadable_tasks.c.task_id.in_(some)
        connection.execute(sa.delete(unreadable_tasks).where(here))
    _tell(connection, project_id, {"unreadable": new, "readable_again": again}, at)


def _tell(connection: Connection, project_id: ProjectId, happened: Mapping[str, Sequence[RemoteTaskState]], at: datetime) -> None:
    tasks = [task for found in happened.values() for task in found]
    items = {key: task.item_id for key, task in tasks_by_key(connection, _keys(tasks)).items()}
    record_events(
        connection,
        [
            Event(at, action, items.get(task.push_key), {"project_id": project_id, "task_id": task.task_id})
            for action, found in happened.items()
            for task in found
        ],
    )


def _keys(tasks: Sequence[RemoteTaskState]) -> list[PushKey]:
    return [task.push_key for task in tasks if task.push_key]
