"""Completed annotations come back: what changed since the cursor, every revision kept, exactly once.

The revisions of a page of tasks and the cursor that covers them are written in one transaction, and a revision is unique
in the store: reading the same page twice changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hitl_bridge.core.model import Annotation, AnnotationState, Project, PushKey
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.sync import RemoteTaskState, plan_revisions
from hitl_bridge.ports import Clock, LabelingService, StateStore

_TASKS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class PullResult:
    """New `revisions` (answers, skips, edits), `tombstones` of deleted annotations, revisions put in quarantine, and the
    number of `requests` made."""

    revisions: int = 0
    tombstones: int = 0
    quarantined: int = 0
    requests: int = 0


def pull(store: StateStore, labeling: LabelingService, policy: ReviewPolicy, clock: Clock) -> PullResult:
    """Reads what changed in every project since its cursor."""
    before = labeling.requests_made
    news: list[Annotation] = []
    for project in store.projects():
        news += _pull_project(store, labeling, policy, clock, project)
    states = [annotation.state for annotation in news]
    return PullResult(
        revisions=len(states) - states.count(AnnotationState.TOMBSTONE),
        tombstones=states.count(AnnotationState.TOMBSTONE),
        quarantined=states.count(AnnotationState.QUARANTINED),
        requests=labeling.requests_made - before,
    )


def _pull_project(
    store: StateStore, labeling: LabelingService, policy: ReviewPolicy, clock: Clock, project: Project
) -> list[Annotation]:
    cursor = store.cursor(project.project_id)
    news: list[Annotation] = []
    for tasks in _chunks(labeling.changed_since(project, cursor)):
        found = _news(store, policy, project, tasks)
        cursor = max([cursor or "", *(task.updated_at for task in tasks)])
        store.record_pull(project.project_id, found, cursor, clock.now())
        news += found
    return news


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
