"""Completed annotations come back: what changed since the cursor, every revision kept, exactly once.

The revisions of a page of tasks and the cursor that covers them are written in one transaction, and a revision is unique
in the store: reading the same page twice changes nothing. A project that can't be read does not keep the others waiting.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hitl_bridge.core.model import Annotation, AnnotationState, Project, ProjectKey, PushKey, TaskState
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.sync import RemoteTaskState, plan_revisions
from hitl_bridge.errors import BridgeError, LabelingUnavailable, RefusedForSafety, RemoteGone
from hitl_bridge.ports import Clock, LabelingService, StateStore
from hitl_bridge.services.troubles import Trouble, trouble

TASK_DELETED = "its task was deleted in Label Studio; asked again"

FEW = 10
"""So many tasks may be gone at once without anybody being asked whether that is right."""

_TASKS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class PullResult:
    """New `revisions` (answers, skips, edits), `tombstones` of deleted annotations, revisions put in quarantine, and the
    number of `requests` made. `lost` tasks were deleted in the labeling service: undecided items are asked again.
    `troubles` are projects that could not be read."""

    revisions: int = 0
    tombstones: int = 0
    quarantined: int = 0
    requests: int = 0
    lost: int = 0
    troubles: tuple[Trouble, ...] = ()


@dataclass(slots=True)
class _Sweep:
    """One pull: what it works with, and what it has brought so far."""

    store: StateStore
    labeling: LabelingService
    policy: ReviewPolicy
    clock: Clock
    accept_lost: bool
    news: list[Annotation] = field(default_factory=list)
    lost: int = 0
    troubles: list[tuple[Project, BridgeError]] = field(default_factory=list)


def pull(
    store: StateStore, labeling: LabelingService, policy: ReviewPolicy, clock: Clock, *, accept_lost: bool = False
) -> PullResult:
    """Reads what changed in every project since its cursor, and looks whether all its tasks are still there.

    Args:
        accept_lost: believe it when most tasks of a project are gone.

    Raises:
        LabelingUnavailable: no project could be read. One that is gone or away is a trouble of the result.
    """
    before, live = labeling.requests_made, store.task_counts()
    sweep = _Sweep(store, labeling, policy, clock, accept_lost)
    projects = _in_use(store, live)
    for project in projects:
        try:
            _bring_back(sweep, project)
            _look_for_lost(sweep, project, live.get(project.key, 0))
        except (LabelingUnavailable, RemoteGone) as error:
            sweep.troubles.append((project, error))
    _raise_if_away(sweep, len(projects))
    return _told(sweep, labeling.requests_made - before)


def _in_use(store: StateStore, live: Mapping[ProjectKey, int]) -> list[Project]:
    """Projects with a task that is there or may be. One whose tasks are all closed has been replaced, or is done with."""
    promised = {task.project_key for task in store.tasks_in(TaskState.INTENDED, TaskState.UNKNOWN)}
    return [project for project in store.projects() if project.key in promised or live.get(project.key)]


def _raise_if_away(sweep: _Sweep, projects: int) -> None:
    """That no project answers is not the trouble of a project: the labeling service is away."""
    away = [error for _, error in sweep.troubles if isinstance(error, LabelingUnavailable)]
    if away and len(away) == projects:
        raise away[0]


def _told(sweep: _Sweep, requests: int) -> PullResult:
    states = [annotation.state for annotation in sweep.news]
    return PullResult(
        revisions=len(states) - states.count(AnnotationState.TOMBSTONE),
        tombstones=states.count(AnnotationState.TOMBSTONE),
        quarantined=states.count(AnnotationState.QUARANTINED),
        requests=requests,
        lost=sweep.lost,
        troubles=tuple(trouble(project.title, error) for project, error in sweep.troubles),
    )


def _bring_back(sweep: _Sweep, project: Project) -> None:
    cursor = sweep.store.cursor(project.project_id)
    for tasks in _chunks(sweep.labeling.changed_since(project, cursor)):
        found = _news(sweep.store, sweep.policy, project, tasks)
        cursor = max([cursor or "", *(task.updated_at for task in tasks)])
        sweep.store.record_pull(project.project_id, found, cursor, sweep.clock.now())
        sweep.news += found


def _look_for_lost(sweep: _Sweep, project: Project, live: int) -> None:
    """A deleted task shows in no list of changes: only the project's count tells."""
    listed = sweep.labeling.task_count(project)
    if listed >= live:
        return
    if _is_to_be_confirmed(sweep, live - listed, live):
        sweep.troubles.append((project, _emptied(project, listed, live)))
        return
    keys = [task.push_key for task in sweep.store.tasks_in(TaskState.LIVE) if task.project_key == project.key]
    there = {task.push_key for task in sweep.labeling.find_tasks(project, keys)}
    gone = [key for key in keys if key not in there]
    if _is_to_be_confirmed(sweep, len(gone), len(keys)):
        sweep.troubles.append((project, _emptied(project, len(there), len(keys))))
        return
    sweep.lost += sweep.store.close_gone(gone, TASK_DELETED, sweep.clock.now())


def _is_to_be_confirmed(sweep: _Sweep, gone: int, known: int) -> bool:
    return not sweep.accept_lost and gone > FEW and 2 * gone > known


def _emptied(project: Project, listed: int, known: int) -> RefusedForSafety:
    return RefusedForSafety(
        f"Project {project.title!r} lists only {listed} of {known} tasks; nothing was changed.",
        remedy="If that is right: hitl-bridge pull --accept-lost",
    )


def _news(store: StateStore, policy: ReviewPolicy, project: Project, tasks: Sequence[RemoteTaskState]) -> list[Annotation]:
    """The revisions of these tasks that we don't have. Tasks that nobody promised are left alone: they are not ours."""
    keys = [task.push_key for task in tasks]
    promised = store.tasks_by_key(keys)
    known: dict[PushKey, list[Annotation]] = defaultdict(list)
    for annotation in store.annotations_of(keys):
        known[annotation.push_key].append(annotation)
    return [
        revision
        for task in tasks
        if task.push_key in promised
        for revision in plan_revisions(project.project_id, task, known[task.push_key], policy.kind, policy.labels)
    ]


def _chunks(tasks: Iterable[RemoteTaskState]) -> Iterator[list[RemoteTaskState]]:
    chunk: list[RemoteTaskState] = []
    for task in tasks:
        chunk.append(task)
        if len(chunk) == _TASKS_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
