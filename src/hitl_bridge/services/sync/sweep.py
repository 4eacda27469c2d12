"""The slow way to see everything: all of a project, compared with all that is known of it.

It finds what shows in no list of changes: tasks that are gone, doubled or came late, annotations that were moved or stored
without their task being touched, and it tries again what could not be shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from hitl_bridge.core.model import Project, TaskId
from hitl_bridge.core.sweep import KnownTask, plan_sweep
from hitl_bridge.ports import Event, RemoteTaskState
from hitl_bridge.services.sync.reading import Reading, chunked, record
from hitl_bridge.services.sync.tripwires import refuse_emptied

TASK_DELETED = "its task was deleted in Label Studio; asked again"
KEPT = "kept_after_restore"


def is_due(reading: Reading, project: Project, now: datetime) -> bool:
    """The first reading of a project reads everything: it counts as a sweep, unless it follows a restore."""
    if reading.wish.sweep or is_unfinished_restore(reading, project):
        return True
    before = reading.ports.store.swept_at(project.project_id)
    if before is None:
        reading.ports.store.record_sweep(project.project_id, now)
        return False
    return not now - reading.wish.sweep_every < before <= now


def is_unfinished_restore(reading: Reading, project: Project) -> bool:
    return project.epoch > 0 and reading.ports.store.swept_at(project.project_id) is None


def sweep(reading: Reading, project: Project, *, restored: bool = False) -> None:
    """Compares the project as a whole. Raises ProjectChanged if most tasks are gone and nobody has said that this is right.

    Args:
        restored: the labeling service is back in time: ids are given again, so that no task is known by its id alone.
    """
    store, labeling = reading.ports.store, reading.ports.labeling
    known = store.what_is_known(project)
    missing, cursor, newest, listed, doubles = dict(known), store.cursor(project.project_id), "", 0, reading.doubles
    for page in chunked(labeling.manifest(project)):
        listed += len(page)
        plan = plan_sweep(known, page, trusting=not restored)
        if plan.learn:
            store.learn(project.project_id, plan.learn)
        read = labeling.states_of(project, plan.read) if plan.read else []
        record(reading, project, read, cursor, is_sweep=True)
        newest = max([newest, *(task.updated_at for task in page)])
        keys = {state.task_id: state.push_key for state in read}
        for task in page:
            there = missing.get(task.task_id)
            if there is not None and (task.task_id not in plan.read or keys.get(task.task_id) in (there.push_key, "")):
                del missing[task.task_id]
    if missing:
        elsewhere = _close_lost(reading, project, missing, len(known), accept=restored or reading.wish.accept_lost)
        _take_back(reading, project, elsewhere, newest)
    if restored:
        _tell_what_was_kept(reading, project)
        # Without a cursor only tasks with answers would be read next, and a deletion until then not be noticed.
        store.record_pull(project.project_id, (), newest or None, reading.ports.clock.now())
    left = listed - (reading.doubles - doubles)
    store.record_sweep(project.project_id, reading.ports.clock.now(), max(0, left - store.tasks_there(project)))
    reading.swept += 1


def _close_lost(
    reading: Reading, project: Project, missing: Mapping[TaskId, KnownTask], known: int, *, accept: bool
) -> Mapping[TaskId, KnownTask]:
    """Tasks that are not where they were are asked again. Returns those whose question another task asks: a double."""
    keys = [task.push_key for task in missing.values()]
    there = {task.push_key for task in reading.ports.labeling.find_tasks(project, keys)}
    gone = [key for key in keys if key not in there]
    if not accept:
        refuse_emptied(project, known - len(gone), known)
    reading.lost += reading.ports.store.close_gone(gone, TASK_DELETED, reading.ports.clock.now())
    return {task_id: task for task_id, task in missing.items() if task.push_key in there}


def _take_back(reading: Reading, project: Project, gone: Mapping[TaskId, KnownTask], at: str) -> None:
    """What was said on a task that is gone was deleted with it; its double is the task now."""
    states = [RemoteTaskState(task.push_key, task_id, task.created_at or "", at) for task_id, task in gone.items()]
    if states:
        record(reading, project, states, reading.ports.store.cursor(project.project_id), is_sweep=True)


def _tell_what_was_kept(reading: Reading, project: Project) -> None:
    """Answers that we hold and the backup lacks stay in force, and the log says so."""
    store, now = reading.ports.store, reading.ports.clock.now()
    kept = store.standing_before(project)
    tasks = store.tasks_by_key([each.push_key for each in kept])
    items = {key: task.item_id for key, task in tasks.items()}
    store.record_events(
        [Event(now, KEPT, items.get(each.push_key), {"annotation": each.key, "epoch": each.epoch}) for each in kept]
    )
