"""What we know × what the labeling service shows → a plan, as values. `services.push` and `services.pull` carry it out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from hitl_bridge.core import draws
from hitl_bridge.core.model import (
    JSON,
    Annotation,
    AnnotationId,
    AnnotationState,
    Answer,
    Item,
    ProjectId,
    ProjectKey,
    PushKey,
    ReviewTask,
    TaskId,
)
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.core.task_types.controls import CHECKLIST, CONFIDENCE, RATIONALE

ROLL_OVER = 10_000
"""Tasks in a project before the next part is opened: Label Studio looks data fields up by a linear scan."""

SHARED_SEAT = 0
"""Reviewers who may share a task all sit on seat 0 and use the labeling service's overlap."""


def push_key(key: bytes, item: Item, seat: int = SHARED_SEAT) -> PushKey:
    """The name by which a task is found back. Keyed, so that it tells a reader of the page nothing about the item."""
    parts = (item.item_id, str(item.revision), str(item.round), str(seat))
    return PushKey(draws.digest(key, "push", *parts)[:32])


def plan_tasks(
    key: bytes, items: Sequence[Item], live: Mapping[ProjectKey, int], known: Collection[ProjectKey] = ()
) -> list[tuple[Item, ReviewTask]]:
    """The task that each queued item is due, in the newest part of its project, or the next one if that is full.

    Args:
        live: tasks that are already there, by project.
        known: the projects that there are. Of a pool and tier only the newest part gets tasks: those before it are full, or
            gone from the labeling service and replaced.
    """
    filling, newest = dict(live), newest_parts(known)
    planned = []
    for item in items:
        first = ProjectKey(item.route.pool, item.route.tier)
        place = _with_room(newest.get((first.pool, first.tier), first), filling)
        filling[place] = filling.get(place, 0) + 1
        task = ReviewTask(push_key(key, item), item.item_id, item.revision, item.round, SHARED_SEAT, place)
        planned.append((item, task))
    return planned


def newest_parts(known: Collection[ProjectKey]) -> dict[tuple[str, str], ProjectKey]:
    """The last part of each project, by pool and tier."""
    return {(key.pool, key.tier): key for key in sorted(known, key=lambda key: key.part)}


def next_part(key: ProjectKey) -> ProjectKey:
    return replace(key, part=key.part + 1)


def _with_room(first: ProjectKey, filling: Mapping[ProjectKey, int]) -> ProjectKey:
    place = first
    while filling.get(place, 0) >= ROLL_OVER:
        place = next_part(place)
    return place


@dataclass(frozen=True, slots=True)
class RemoteAnnotation:
    """An annotation as the labeling service holds it now. `controls` is the result by control name; `problem` says why it
    can't be believed (it does not fit the label config, or was mass-created from predictions)."""

    annotation_id: AnnotationId
    created_at: str
    updated_at: str
    completed_by: str
    updated_by: str
    was_cancelled: bool
    controls: Mapping[str, Sequence[JSON]]
    result: Sequence[JSON]
    lead_time: float | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteTaskState:
    """A task with all the annotations it holds now."""

    push_key: PushKey
    task_id: TaskId
    created_at: str
    updated_at: str
    annotations: tuple[RemoteAnnotation, ...]


def plan_revisions(
    project_id: ProjectId, seen: RemoteTaskState, known: Collection[Annotation], kind: TaskType, labels: Sequence[str]
) -> list[Annotation]:
    """The revisions to record for a task: annotations that are new, edited or moved here, and tombstones for those gone.

    Args:
        known: the latest revision of each annotation that we have for this task.
    """
    latest = {(each.annotation_id, each.created_at): each for each in known}
    found = [_revision(project_id, seen, annotation, kind, labels) for annotation in seen.annotations]
    present = {(each.annotation_id, each.created_at) for each in found}
    news = [each for each in found if _is_news(each, latest.get((each.annotation_id, each.created_at)))]
    gone = [
        _tombstone(each, seen.updated_at)
        for identity, each in latest.items()
        if identity not in present and each.state is not AnnotationState.TOMBSTONE
    ]
    return news + gone


def _is_news(found: Annotation, known: Annotation | None) -> bool:
    return known is None or (known.updated_at, known.state, known.task_id) != (found.updated_at, found.state, found.task_id)


def _revision(
    project_id: ProjectId, task: RemoteTaskState, seen: RemoteAnnotation, kind: TaskType, labels: Sequence[str]
) -> Annotation:
    state, answer, reason = _meaning(seen, kind, labels)
    return Annotation(
        project_id=project_id,
        task_id=task.task_id,
        annotation_id=seen.annotation_id,
        push_key=task.push_key,
        created_at=seen.created_at,
        updated_at=seen.updated_at,
        reviewer=seen.completed_by,
        updated_by=seen.updated_by,
        state=state,
        answer=answer,
        result=seen.result,
        lead_time=seen.lead_time,
        reason=reason,
    )


def is_foreign(author: str, editor: str) -> bool:
    """Whether somebody other than its author made this revision of an annotation. Such a one is put in quarantine, and what
    the author said last stays in force: nobody takes back another's answer by touching it."""
    return bool(author and editor and author != editor)


def _meaning(seen: RemoteAnnotation, kind: TaskType, labels: Sequence[str]) -> tuple[AnnotationState, Answer | None, str]:
    foreign = is_foreign(seen.completed_by, seen.updated_by)
    if seen.was_cancelled and not foreign:  # the result of a skip can be full: it means nothing
        return AnnotationState.SKIP, None, ""
    if seen.problem:
        return AnnotationState.QUARANTINED, None, seen.problem
    if foreign:
        return AnnotationState.QUARANTINED, None, "edited by somebody other than its author"
    try:
        return AnnotationState.ANSWER, _answer(seen.controls, kind, labels), ""
    except ValueError as unfit:
        return AnnotationState.QUARANTINED, None, str(unfit)


def _answer(controls: Mapping[str, Sequence[JSON]], kind: TaskType, labels: Sequence[str]) -> Answer:
    rating = next(iter(controls.get(CONFIDENCE, ())), None)
    return Answer(
        output=kind.read(controls, labels),
        rationale="\n".join(str(line) for line in controls.get(RATIONALE, ())).strip(),
        checklist=tuple(str(ticked) for ticked in controls.get(CHECKLIST, ())),
        confidence=int(rating) if isinstance(rating, int | float) else None,
    )


def _tombstone(known: Annotation, at: str) -> Annotation:
    return Annotation(
        project_id=known.project_id,
        task_id=known.task_id,
        annotation_id=known.annotation_id,
        push_key=known.push_key,
        created_at=known.created_at,
        updated_at=at,
        reviewer=known.reviewer,
        updated_by=known.updated_by,
        state=AnnotationState.TOMBSTONE,
        reason="deleted in the labeling service",
    )
