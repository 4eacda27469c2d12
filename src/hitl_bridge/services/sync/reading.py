"""One pull: what it works with, what was asked for, what it has brought so far, and how read tasks are recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from hitl_bridge.core.model import Annotation, Project, ProjectId, PushKey, ReviewTask, TaskState
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.sync import RemoteTask, RemoteTaskState, plan_revisions
from hitl_bridge.errors import BridgeError
from hitl_bridge.ports import Clock, LabelingService, StateStore
from hitl_bridge.services.sync.doubles import settle_doubles

TASKS_AT_ONCE = 200

Each = TypeVar("Each")


@dataclass(frozen=True, slots=True)
class PullPorts:
    """What pulling needs of the world. `label_config` gives the one that a tier should have, by name."""

    store: StateStore
    labeling: LabelingService
    label_config: Callable[[str], str]
    clock: Clock


@dataclass(frozen=True, slots=True)
class PullWish:
    """What is asked of a pull: `only` some projects; a `sweep` of each, or where the last is longer ago than `sweep_every`;
    and what a person has confirmed: that most tasks of a project are gone, that the labeling service was restored."""

    only: Collection[ProjectId] | None = None
    sweep: bool = False
    sweep_every: timedelta = timedelta(hours=6)
    accept_lost: bool = False
    accept_restored: bool = False


@dataclass(slots=True)
class Reading:
    """A pull while it goes on."""

    ports: PullPorts
    policy: ReviewPolicy
    wish: PullWish
    news: list[Annotation] = field(default_factory=list)
    lost: int = 0
    doubles: int = 0
    swept: int = 0
    unreadable: int = 0
    requests: int = 0
    troubles: list[tuple[Project, BridgeError]] = field(default_factory=list)


def record(
    reading: Reading, project: Project, states: Sequence[RemoteTaskState], cursor: str | None, *, is_sweep: bool = False
) -> None:
    """Writes down what these tasks show: revisions with the cursor that covers them in one transaction, and beside it tasks
    that can't be shown, tasks whose creation time was not known, and tasks that are there twice.

    Tasks that nobody promised are left alone: they are not ours.
    """
    store, now = reading.ports.store, reading.ports.clock.now()
    promised = store.tasks_by_key([state.push_key for state in states if state.push_key])
    _note_unreadable(reading, project, states, promised)
    ours = [state for state in states if state.push_key in promised]
    learned = _new_creation_times(ours, promised)
    if learned:
        store.learn(project.project_id, learned)
    found = _news(reading, project, ours)
    if found or cursor != store.cursor(project.project_id):
        store.record_pull(project.project_id, found, cursor, now)
    reading.news += found
    doubled = [state.push_key for state in ours if _is_double(promised[state.push_key], state, project, is_sweep)]
    if doubled:
        reading.doubles += settle_doubles(store, reading.ports.labeling, project, doubled, now).deleted


def _note_unreadable(
    reading: Reading, project: Project, states: Sequence[RemoteTaskState], promised: Mapping[PushKey, ReviewTask]
) -> None:
    store = reading.ports.store
    known = store.unreadable_tasks(project.project_id)
    concerned = [
        state
        for state in states
        if state.task_id in known or (state.unreadable and (not state.push_key or state.push_key in promised))
    ]
    if concerned:
        store.record_unreadable(project.project_id, concerned, reading.ports.clock.now())
        reading.unreadable += sum(bool(state.unreadable) for state in concerned)


def _new_creation_times(states: Sequence[RemoteTaskState], known: Mapping[PushKey, ReviewTask]) -> list[RemoteTask]:
    return [
        RemoteTask(state.push_key, state.task_id, state.created_at)
        for state in states
        if known[state.push_key].task_id == state.task_id and known[state.push_key].task_created_at is None
    ]


def _news(reading: Reading, project: Project, states: Sequence[RemoteTaskState]) -> list[Annotation]:
    """The revisions of these tasks that we don't have."""
    known: dict[PushKey, list[Annotation]] = defaultdict(list)
    for annotation in reading.ports.store.annotations_of([state.push_key for state in states]):
        known[annotation.push_key].append(annotation)
    kind, labels = reading.policy.kind, reading.policy.labels
    return [revision for state in states for revision in plan_revisions(project, state, known[state.push_key], kind, labels)]


def _is_double(task: ReviewTask, state: RemoteTaskState, project: Project, is_sweep: bool) -> bool:
    """Whether the labeling service has a task that is not the one we know under that key; or, seen in a sweep, one that we
    only promised: a request whose outcome was unclear was carried out late."""
    if task.project_key != project.key or task.state is TaskState.REJECTED:
        return False
    if task.task_id is None:
        return is_sweep
    return (task.task_id, task.task_created_at or state.created_at) != (state.task_id, state.created_at)


def chunked(values: Iterable[Each]) -> Iterator[list[Each]]:
    chunk: list[Each] = []
    for value in values:
        chunk.append(value)
        if len(chunk) == TASKS_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
