"""One question, two tasks: a request that was carried out after it had been given up, or a bridge that woke up late.

A late write to the labeling service can't be fenced; so a double is found and settled. The oldest task with answers is the
task. Another one is deleted if nobody has answered or begun it, and else it stays: its answers are answers to the same
question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hitl_bridge.core.model import JSON, Project, PushKey, ReviewTask, TaskState
from hitl_bridge.core.sync import RemoteTask, task_among
from hitl_bridge.ports import Event, LabelingService, StateStore

DOUBLE_DELETED = "double_deleted"
DOUBLE_KEPT = "double_kept"

_PROMISED = (TaskState.INTENDED, TaskState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Settled:
    """How many promised tasks were `found` to be there, and how many doubles were `deleted`."""

    found: int = 0
    deleted: int = 0


def settle_doubles(
    store: StateStore, labeling: LabelingService, project: Project, keys: Sequence[PushKey], at: datetime
) -> Settled:
    """Looks for all tasks with these keys: those that were promised are confirmed, and of several with one key one is left."""
    copies: dict[PushKey, list[RemoteTask]] = defaultdict(list)
    for copy in labeling.find_tasks(project, keys):
        copies[copy.push_key].append(copy)
    known = store.tasks_by_key(list(copies))
    chosen = {key: _the_task(known[key], found) for key, found in copies.items() if key in known}
    promised = [task for key, task in chosen.items() if known[key].task_id is None]
    store.confirm(project.project_id, promised, at)
    for key, task in chosen.items():
        if known[key].state is TaskState.LIVE:
            store.move_task(project.project_id, task, at)
    deleted = sum(
        _settle(store, labeling, project, (known[key], task, other))
        for key, task in chosen.items()
        for other in copies[key]
        if other.task_id != task.task_id
    )
    return Settled(sum(known[task.push_key].state in _PROMISED for task in promised), deleted)


def _the_task(known: ReviewTask, copies: Sequence[RemoteTask]) -> RemoteTask:
    """Of a task that is closed, the one that we know stays what it is."""
    same = [copy for copy in copies if copy.task_id == known.task_id]
    return same[0] if same and known.state is TaskState.CLOSED else task_among(copies)


def _settle(
    store: StateStore, labeling: LabelingService, project: Project, which: tuple[ReviewTask, RemoteTask, RemoteTask]
) -> bool:
    known, task, other = which
    deleted = not other.answers and labeling.delete_untouched(project, other)
    detail: Mapping[str, JSON] = {
        "push_key": known.push_key,
        "project_id": project.project_id,
        "task_id": task.task_id,
        "double": other.task_id,
    }
    # Told as of when the double came into being: however often it is seen, it is told once.
    at = datetime.fromisoformat(str(other.created_at))
    store.record_events([Event(at, DOUBLE_DELETED if deleted else DOUBLE_KEPT, known.item_id, detail)])
    return deleted
