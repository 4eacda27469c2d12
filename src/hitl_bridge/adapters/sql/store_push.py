"""Push: the projects, the promise of each task, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hitl_bridge.adapters.sql.rows import project_key_of, project_of, project_row, task_of, task_row
from hitl_bridge.adapters.sql.statements import chunks, insert_new, insert_or_update, one_of, record_events, update_each
from hitl_bridge.adapters.sql.store_attempts import end_try
from hitl_bridge.adapters.sql.tables import items, projects, review_tasks
from hitl_bridge.core.lifecycle import may_move
from hitl_bridge.core.model import JSON, ItemState, Project, ProjectId, ProjectKey, PushKey, ReviewTask, TaskState
from hitl_bridge.errors import RefusedForSafety
from hitl_bridge.ports import Event, Refusal, RemoteTask

_STEP = "push"
_PROMISED = (TaskState.INTENDED, TaskState.UNKNOWN)
_QUARANTINABLE = [state for state in ItemState if may_move(state, ItemState.QUARANTINED) and state != ItemState.QUARANTINED]


def all_projects(connection: Connection) -> list[Project]:
    ordered = sa.select(projects).order_by(projects.c.pool, projects.c.tier, projects.c.part)
    return [project_of(row) for row in connection.execute(ordered).mappings()]


def record_project(connection: Connection, project: Project) -> None:
    key = project.key
    same_key = (projects.c.pool == key.pool) & (projects.c.tier == key.tier) & (projects.c.part == key.part)
    concerned = sa.select(projects).where(same_key | (projects.c.project_id == project.project_id))
    for there in [project_of(row) for row in connection.execute(concerned).mappings()]:
        _refuse_mix_up(connection, there, project)
    insert_or_update(connection, projects, project_row(project), key=("pool", "tier", "part"))


def _refuse_mix_up(connection: Connection, there: Project, project: Project) -> None:
    """A project is one row for ever: its cursor and the annotations on its tasks go by its id."""
    if (there.key, there.project_id) == (project.key, project.project_id):
        return
    if there.key == project.key and project.key not in _with_sent_tasks(connection):
        return
    raise RefusedForSafety(
        f"Project {project.project_id} can't be {project.key.mark}: that is {there.key.mark}, project {there.project_id}.",
        remedy="If that project was deleted: hitl-bridge push --replace-gone, which makes a new one beside it.",
    )


def _with_sent_tasks(connection: Connection) -> set[ProjectKey]:
    key = (review_tasks.c.pool, review_tasks.c.tier, review_tasks.c.part)
    sent = sa.select(*key).where(review_tasks.c.task_id.is_not(None)).distinct()
    return {project_key_of(row) for row in connection.execute(sent).mappings()}


def intend(connection: Connection, tasks: Sequence[ReviewTask]) -> None:
    insert_new(connection, review_tasks, [task_row(task) for task in tasks])


def tasks_in(connection: Connection, states: Sequence[TaskState], project: ProjectKey | None = None) -> list[ReviewTask]:
    wanted = sa.select(review_tasks).where(review_tasks.c.state.in_(states))
    if project is not None:
        wanted = wanted.where(of_project(project))
    ordered = wanted.order_by(review_tasks.c.item_id, review_tasks.c.revision, review_tasks.c.round, review_tasks.c.seat)
    return [task_of(row) for row in connection.execute(ordered).mappings()]


def of_project(key: ProjectKey) -> sa.ColumnElement[bool]:
    """Of that project: with the state before it, the order of an index."""
    return (review_tasks.c.pool == key.pool) & (review_tasks.c.tier == key.tier) & (review_tasks.c.part == key.part)


def task_counts(connection: Connection, states: Sequence[TaskState]) -> Mapping[ProjectKey, int]:
    key = (review_tasks.c.pool, review_tasks.c.tier, review_tasks.c.part)
    counted = sa.select(*key, sa.func.count().label("tasks")).where(review_tasks.c.state.in_(states)).group_by(*key)
    return {project_key_of(row): row["tasks"] for row in connection.execute(counted).mappings()}


def mark_unknown(connection: Connection, keys: Sequence[PushKey], at: datetime) -> None:
    """Also for tasks of unclear outcome that are sent once more: `sent_at` is when they were last sent."""
    promised = review_tasks.c.state.in_(_PROMISED)
    for some in chunks(keys):
        statement = sa.update(review_tasks).where(review_tasks.c.push_key.in_(some), promised)
        connection.execute(statement.values(state=TaskState.UNKNOWN, sent_at=at))


def confirm(connection: Connection, project_id: ProjectId, tasks: Sequence[RemoteTask], at: datetime) -> None:
    """A task that was closed meanwhile (its item withdrawn) keeps that state, but where it is gets known."""
    record_events(connection, _pushed(connection, project_id, tasks, at))
    state = review_tasks.c.state
    statement = (
        sa.update(review_tasks)
        .where(review_tasks.c.push_key == bindparam("key"), review_tasks.c.task_id.is_(None))
        .where(one_of(state, (*_PROMISED, TaskState.CLOSED)))
        .values(
            state=sa.case((state == TaskState.CLOSED, state), else_=sa.literal(TaskState.LIVE, state.type)),
            project_id=project_id,
            task_id=bindparam("remote_id"),
            task_created_at=bindparam("remote_created_at"),
        )
    )
    there = [{"key": task.push_key, "remote_id": task.task_id, "remote_created_at": task.created_at} for task in tasks]
    update_each(connection, statement, there)
    _items_pushed(connection, [task.push_key for task in tasks])
    end_try(connection, _STEP, [task.push_key for task in tasks])


def _pushed(connection: Connection, project_id: ProjectId, tasks: Sequence[RemoteTask], at: datetime) -> list[Event]:
    """One event for all the tasks that become known now."""
    unknown: set[str] = set()
    for some in chunks([task.push_key for task in tasks]):
        missing = sa.select(review_tasks.c.push_key).where(review_tasks.c.push_key.in_(some), review_tasks.c.task_id.is_(None))
        unknown |= set(connection.execute(missing).scalars())
    there: dict[str, JSON] = {task.push_key: task.task_id for task in tasks if task.push_key in unknown}
    return [Event(at, "pushed", detail={"project_id": project_id, "tasks": there})] if there else []


def _items_pushed(connection: Connection, keys: Sequence[PushKey]) -> None:
    """Once all the seats of its round are there."""
    other = review_tasks.alias("other")
    of_round = [other.c[name] == review_tasks.c[name] for name in ("item_id", "revision", "round")]
    another_seat_is_due = sa.exists().where(*of_round, other.c.state.in_(_PROMISED))
    statement = (
        sa.update(items)
        .where(items.c.state == ItemState.QUEUED, items.c.item_id == review_tasks.c.item_id)
        .where(items.c.revision == review_tasks.c.revision, items.c.round == review_tasks.c.round)
        .where(review_tasks.c.state == TaskState.LIVE, ~another_seat_is_due)
        .values(state=ItemState.PUSHED)
    )
    for some in chunks(keys):
        connection.execute(statement.where(review_tasks.c.push_key.in_(some)))


def learn(connection: Connection, project_id: ProjectId, tasks: Sequence[RemoteTask]) -> None:
    statement = (
        sa.update(review_tasks)
        .where(review_tasks.c.push_key == bindparam("key"), review_tasks.c.task_id == bindparam("remote_id"))
        .where(review_tasks.c.project_id == project_id, review_tasks.c.task_created_at.is_(None))
        .values(task_created_at=bindparam("remote_created_at"))
    )
    known = [{"key": task.push_key, "remote_id": task.task_id, "remote_created_at": task.created_at} for task in tasks]
    update_each(connection, statement, known)


def move_task(connection: Connection, project_id: ProjectId, task: RemoteTask, at: datetime) -> None:
    found = sa.select(review_tasks).where(review_tasks.c.push_key == task.push_key, review_tasks.c.state == TaskState.LIVE)
    before = connection.execute(found).mappings().first()
    there = {"project_id": project_id, "task_id": task.task_id, "task_created_at": task.created_at}
    if before is None or all(before[name] == value for name, value in there.items()):
        return
    connection.execute(sa.update(review_tasks).where(review_tasks.c.push_key == task.push_key).values(there))
    detail: dict[str, JSON] = {"push_key": task.push_key, "from": before["task_id"], "to": task.task_id}
    record_events(connection, [Event(at=at, action="task_moved", item_id=before["item_id"], detail=detail)])


def refuse(connection: Connection, refusals: Sequence[Refusal], at: datetime) -> None:
    happened: list[Event] = []
    for refusal in refusals:
        happened += _refuse_one(connection, refusal, at)
    end_try(connection, _STEP, [refusal.push_key for refusal in refusals])
    record_events(connection, happened)


def _refuse_one(connection: Connection, refusal: Refusal, at: datetime) -> list[Event]:
    task = (
        connection.execute(
            sa.update(review_tasks)
            .where(review_tasks.c.push_key == refusal.push_key, review_tasks.c.state.in_(_PROMISED))
            .values(state=TaskState.REJECTED, state_reason=refusal.reason)
            .returning(review_tasks)
        )
        .mappings()
        .first()
    )
    if task is None:
        return []
    connection.execute(
        sa.update(items)
        .where(items.c.item_id == task["item_id"], items.c.revision == task["revision"], items.c.round == task["round"])
        .where(items.c.state.in_(_QUARANTINABLE))
        .values(state=ItemState.QUARANTINED, state_reason=refusal.reason)
    )
    detail = {"push_key": refusal.push_key, "revision": task["revision"], "round": task["round"], "reason": refusal.reason}
    return [Event(at=at, action="refused", item_id=task["item_id"], detail=detail)]
