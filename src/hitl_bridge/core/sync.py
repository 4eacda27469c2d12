"""What we know × what the labeling service shows → a plan, as values. `services.sync` carries it out."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from hitl_bridge.core import draws
from hitl_bridge.core.model import (
    JSON,
    Annotation,
    AnnotationId,
    AnnotationState,
    Answer,
    Item,
    ItemId,
    Project,
    ProjectKey,
    PushKey,
    Request,
    ReviewTask,
    TaskId,
)
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.core.task_types.controls import (
    CONFIDENCE,
    ESCALATE,
    NEW_LABEL,
    NONE_BECAUSE,
    RATIONALE,
    REASONS,
    REQUEST,
    RETURN,
    SCENARIO,
    is_checklist,
)
from hitl_bridge.errors import ProjectChanged

ROLL_OVER = 10_000
"""Tasks in a project before the next part is opened: Label Studio looks data fields up by a linear scan."""

OVERLAP = timedelta(minutes=5)
"""How far before the cursor changes are read again: a row becomes visible later than its timestamp says."""

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


Hands: TypeAlias = "Mapping[tuple[ItemId, int], Sequence[tuple[int, str]]]"
"""Of an item and its revision: the seats that are due, and who sits on each."""


def plan_personal_tasks(
    key: bytes, items: Sequence[Item], hands: Hands, live: Mapping[ProjectKey, int], known: Collection[ProjectKey] = ()
) -> list[tuple[Item, ReviewTask]]:
    """The tasks that each queued item is due, one in the project of each who is to answer it; none for an item that is in
    nobody's hands. Otherwise as `plan_tasks`."""
    filling, newest = dict(live), newest_parts(known)
    planned = []
    for item in items:
        for seat, email in hands.get((item.item_id, item.revision), ()):
            first = ProjectKey.personal(item.route.pool, email, item.route.tier)
            place = _with_room(newest.get((first.pool, first.tier), first), filling)
            filling[place] = filling.get(place, 0) + 1
            task = ReviewTask(push_key(key, item, seat), item.item_id, item.revision, item.round, seat, place)
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


def config_digest(label_config: str) -> str:
    """What a label config is known again by."""
    return hashlib.sha256(label_config.encode("utf-8")).hexdigest()


def earlier(moment: str, by: timedelta) -> str:
    """A time of the labeling service less `by`, in the form in which such times are kept."""
    at = datetime.fromisoformat(moment) - by
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def label_config_changed(project: Project) -> ProjectChanged:
    """What is said of a project whose label config is neither the one that we left there nor the one that we want."""
    return ProjectChanged(
        f"The label config of project {project.title!r} was changed in the labeling service; neither push nor pull touches it.",
        remedy="To put ours back: hitl-bridge push --restore-label-config. To keep the change: make it in label_configs/ too.",
    )


@dataclass(frozen=True, slots=True)
class RemoteTask:
    """A task of ours in the labeling service. `created_at` is None where it was not asked for. `answers` counts its
    annotations, skips among them, as far as the labeling service's own counters can be trusted."""

    push_key: PushKey
    task_id: TaskId
    created_at: str | None = None
    answers: int = 0


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
    """A task with all the annotations it holds now. `unreadable` says why the labeling service itself can't show them: then
    nothing is known of them, and `push_key` may be empty."""

    push_key: PushKey
    task_id: TaskId
    created_at: str
    updated_at: str
    annotations: tuple[RemoteAnnotation, ...] = ()
    unreadable: str = ""


def task_among(copies: Sequence[RemoteTask]) -> RemoteTask:
    """Which of several tasks with one key is the task: the oldest with answers, else the oldest."""
    return min(copies, key=lambda copy: (not copy.answers, copy.created_at or "", copy.task_id))


Identity = tuple[AnnotationId, str]
"""What makes an annotation of a project the same one: its id, which alone is used again, and its creation time."""


def plan_revisions(
    project: Project, seen: RemoteTaskState, known: Collection[Annotation], kind: TaskType, labels: Sequence[str]
) -> list[Annotation]:
    """The revisions to record for a task: annotations that are new, edited or moved here, and tombstones for those gone.

    Only this task's own annotations can be gone from it: of two tasks with one key, each is compared with itself. And only
    what was seen in the project's present epoch: what a restored backup lacks was not deleted by anybody.

    Args:
        known: the latest revision, by epoch, of each annotation that we have under this task's key.
    """
    if seen.unreadable:
        return []
    ours = [each for each in known if (each.project_id, each.epoch) == (project.project_id, project.epoch)]
    here = {_identity(each): each for each in ours if each.task_id == seen.task_id}
    authors = {_identity(each): each.reviewer for each in known if each.project_id == project.project_id and each.reviewer}
    found = [_revision(project, seen, _with_author(one, authors), kind, labels) for one in seen.annotations]
    present = {_identity(each) for each in found}
    news = [each for each in found if _is_news(each, here.get(_identity(each)))]
    standing = [each for each in ours if each.state is not AnnotationState.TOMBSTONE]
    gone = [each for each in standing if each.task_id == seen.task_id and _identity(each) not in present]
    left = [each for each in standing if each.task_id != seen.task_id and _identity(each) in present]
    return [
        *news,
        *(_tombstone(each, seen.updated_at, "deleted in the labeling service") for each in gone),
        *(_tombstone(each, seen.updated_at, "moved to another task") for each in left),
    ]


def _identity(annotation: Annotation) -> Identity:
    return annotation.annotation_id, annotation.created_at


def _with_author(seen: RemoteAnnotation, authors: Mapping[Identity, str]) -> RemoteAnnotation:
    """With the name that we knew, if the author's account was deleted since."""
    if seen.completed_by:
        return seen
    return replace(seen, completed_by=authors.get((seen.annotation_id, seen.created_at), ""))


def _is_news(found: Annotation, known: Annotation | None) -> bool:
    """What was believed once stays so until it is edited: a label config or an account that went does not take it back."""
    if known is None or known.updated_at != found.updated_at:
        return True
    return known.state != found.state and found.state is not AnnotationState.QUARANTINED


def missing_among(known: Collection[Annotation], listed: Collection[RemoteTaskState], since: str) -> bool:
    """Whether an annotation that was changed at or after `since` is in no list of what changed since: why not has to be seen."""
    present = {(one.annotation_id, one.created_at) for state in listed for one in state.annotations}
    dark = {state.task_id for state in listed if state.unreadable}
    recent = [each for each in known if each.updated_at >= since and each.task_id not in dark]
    return any(_identity(each) not in present for each in recent)


def vanished(known: Collection[Annotation], there: Collection[RemoteTaskState]) -> list[Annotation]:
    """Of annotations that we know, those that are gone in a way that no deletion explains: as after a restore from a backup.

    A deletion moves its task's `updated_at`, and no id is given twice by deleting: so an annotation that is not on its task,
    which nobody has touched since, was never there; nor was one whose id, or a later one, somebody younger has.
    """
    tasks = {state.task_id: state for state in there if not state.unreadable}
    youngest = {(one.annotation_id, one.created_at) for state in there for one in state.annotations}
    return [each for each in known if _is_vanished(each, tasks.get(each.task_id), youngest)]


def _is_vanished(known: Annotation, task: RemoteTaskState | None, others: Collection[Identity]) -> bool:
    if any(number <= known.annotation_id and created_at > known.created_at for number, created_at in others):
        return _identity(known) not in others
    if task is None:
        return False
    if task.push_key != known.push_key:
        return True
    return _identity(known) not in others and task.updated_at < known.updated_at


def _revision(
    project: Project, task: RemoteTaskState, seen: RemoteAnnotation, kind: TaskType, labels: Sequence[str]
) -> Annotation:
    state, answer, reason = _meaning(seen, kind, labels)
    return Annotation(
        project_id=project.project_id,
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
        epoch=project.epoch,
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
        return AnnotationState.ANSWER, read_answer(seen.controls, kind, labels), ""
    except ValueError as unfit:
        return AnnotationState.QUARANTINED, None, str(unfit)


def read_answer(controls: Mapping[str, Sequence[JSON]], kind: TaskType, labels: Sequence[str]) -> Answer:
    """What a filled-in page says. Raises ValueError if that means nothing."""
    rating = next(iter(controls.get(CONFIDENCE, ())), None)
    request = next((_REQUESTS[str(asked)] for asked in controls.get(REQUEST, ()) if str(asked) in _REQUESTS), None)
    if request is not None:  # who hands an item on judges nothing
        return Answer(None, _text(controls.get(RATIONALE, ())), request=request)
    output = kind.read(controls, labels)
    # What stands in a part of the page that is not shown any more is sent all the same.
    codes = controls.get(REASONS if output is not None else NONE_BECAUSE, ())
    return Answer(
        output=output,
        rationale=_text(controls.get(RATIONALE, ())),
        checklist=tuple(str(ticked) for name in controls if is_checklist(name) for ticked in controls[name]),
        confidence=int(rating) if isinstance(rating, int | float) else None,
        reason_codes=tuple(map(str, codes)),
        missing_label=_text(controls.get(NEW_LABEL, ())) if output is None else "",
        scenario=_text(controls.get(SCENARIO, ())),
    )


_REQUESTS = {ESCALATE: Request.ESCALATE, RETURN: Request.RETURN}


def _text(lines: Sequence[JSON]) -> str:
    return "\n".join(map(str, lines)).strip()


def _tombstone(known: Annotation, at: str, reason: str) -> Annotation:
    return replace(
        known,
        updated_at=at,
        state=AnnotationState.TOMBSTONE,
        answer=None,
        result=(),
        lead_time=None,
        reason=reason,
    )
