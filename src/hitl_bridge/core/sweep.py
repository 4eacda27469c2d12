"""All of a project × all that we know of it → what to look at: for what shows in no list of changes.

Some changes never move a task's time: annotations that a clean-up of duplicates moved to another task, an answer that was
stored while the database was locked, tasks that are gone, tasks that are there twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hitl_bridge.core.model import AnnotationId, PushKey, TaskId
from hitl_bridge.core.sync import RemoteTask

Version = tuple[AnnotationId, str, str]
"""An annotation as it is now: its id, when it was made, when it was last changed."""


@dataclass(frozen=True, slots=True)
class ManifestTask:
    """A task of the labeling service by its ids and times alone, whoever put it there."""

    task_id: TaskId
    created_at: str
    versions: frozenset[Version] = frozenset()
    updated_at: str = ""


@dataclass(frozen=True, slots=True)
class KnownTask:
    """A live task as we know it. `created_at` is None where it was not asked for yet, and empty for a double of it: that is read
    whole each time."""

    push_key: PushKey
    created_at: str | None
    versions: frozenset[Version] = frozenset()


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """`read` are tasks to read whole; `learn` are tasks of ours whose creation time was not known."""

    read: tuple[TaskId, ...]
    learn: tuple[RemoteTask, ...]


def plan_sweep(known: Mapping[TaskId, KnownTask], there: Sequence[ManifestTask], *, trusting: bool = True) -> SweepPlan:
    """What to do about some tasks of a project.

    Args:
        known: all tasks of the project that we take to be there.
        trusting: a task with an id that we know and no creation time to compare is the one that we made; not so after a
            restore, when ids are given again.
    """
    ours = {task.task_id: known[task.task_id] for task in there if task.task_id in known}
    learn = [
        RemoteTask(ours[task.task_id].push_key, task.task_id, task.created_at)
        for task in there
        if trusting and task.task_id in ours and ours[task.task_id].created_at is None
    ]
    read = [task.task_id for task in there if not _is_as_known(ours.get(task.task_id), task, trusting)]
    return SweepPlan(tuple(read), tuple(learn))


def _is_as_known(known: KnownTask | None, task: ManifestTask, trusting: bool) -> bool:
    if known is None or known.versions != task.versions:
        return False
    return known.created_at == task.created_at or (trusting and known.created_at is None)
