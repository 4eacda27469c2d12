"""Completed annotations come back: what changed since the cursor, every revision kept, exactly once.

The revisions of a page of tasks and the cursor that covers them are written in one transaction, and a revision is unique
in the store: reading the same page twice changes nothing. A project that can't be read, or is not as it was left, does not
keep the others waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

from hitl_bridge.core.model import AnnotationState, Project, ProjectKey, TaskState
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.errors import AccessRefused, LabelingUnavailable, ProjectChanged, RemoteGone
from hitl_bridge.ports import StateStore
from hitl_bridge.services.sync.reading import PullPorts, PullWish, Reading, chunked, record
from hitl_bridge.services.sync.sweep import is_due, is_unfinished_restore, sweep
from hitl_bridge.services.sync.tripwires import refuse_changed_config, refuse_emptied, restored, was_restored
from hitl_bridge.services.sync.troubles import Trouble, raise_if_all, trouble

CHUNKS_AHEAD = 5
"""Read before the first is believed. The newest answers that we have are looked for among them, as a rule without a request."""


@dataclass(frozen=True, slots=True)
class PullResult:
    """New `revisions` (answers, skips, edits), `tombstones` of deleted annotations, revisions put in quarantine, and the
    number of `requests` made. `lost` tasks were deleted in the labeling service: undecided items are asked again. `doubles`
    are tasks that were there twice, one of which was deleted; `unreadable` tasks can't be shown by the labeling service;
    `swept` projects were compared as a whole. `troubles` are projects that could not be read, or not be believed."""

    revisions: int = 0
    tombstones: int = 0
    quarantined: int = 0
    requests: int = 0
    lost: int = 0
    doubles: int = 0
    unreadable: int = 0
    swept: int = 0
    troubles: tuple[Trouble, ...] = ()


def pull(
    ports: PullPorts,
    policy: ReviewPolicy,
    wish: PullWish = PullWish(),  # noqa: B008  (frozen)
    *,
    between: Callable[[], object] = lambda: None,
) -> PullResult:
    """Reads what changed in every project since its cursor, and looks whether it is still as it was left.

    Args:
        between: called before each project, when nothing is half done.

    Raises:
        LabelingUnavailable, AccessRefused: no project could be read. One of several is a trouble of the result.
    """
    live = ports.store.task_counts()
    reading = Reading(ports, policy, wish)
    projects = [each for each in _in_use(ports.store, live) if wish.only is None or each.project_id in wish.only]
    for project in projects:
        between()
        before = ports.labeling.requests_made
        try:
            _pull_project(reading, project, live.get(project.key, 0))
        except (LabelingUnavailable, RemoteGone, ProjectChanged, AccessRefused) as error:
            reading.troubles.append((project, error))
        reading.requests += ports.labeling.requests_made - before
    raise_if_all([error for _, error in reading.troubles], len(projects))
    return _told(reading)


def _in_use(store: StateStore, live: Mapping[ProjectKey, int]) -> list[Project]:
    """Projects with a task that is there or may be. One whose tasks are all closed has been replaced, or is done with."""
    promised = store.task_counts(TaskState.INTENDED, TaskState.UNKNOWN)
    return [project for project in store.projects() if promised.get(project.key) or live.get(project.key)]


def _pull_project(reading: Reading, project: Project, live: int) -> None:
    """Two requests where nothing is new: a look at the project, and what changed since the cursor."""
    store, labeling, wish = reading.ports.store, reading.ports.labeling, reading.wish
    look = labeling.look(project)
    refuse_changed_config(reading, project, look)
    if not (wish.accept_lost or wish.accept_restored):
        refuse_emptied(project, look.tasks, live)
    if is_unfinished_restore(reading, project):
        sweep(reading, project, restored=True)
        return
    cursor = store.cursor(project.project_id)
    pages = chunked(labeling.changed_since(project, cursor))
    ahead = list(islice(pages, CHUNKS_AHEAD))
    if cursor is not None and was_restored(reading, project, cursor, [task for page in ahead for task in page]):
        if not wish.accept_restored:
            raise restored(project)
        sweep(reading, store.begin_epoch(project, reading.ports.clock.now()), restored=True)
        return
    doubles = reading.doubles
    for page in (*ahead, *pages):
        cursor = max([cursor or "", *(task.updated_at for task in page)]) or None
        record(reading, project, page, cursor)
    there = look.tasks - (reading.doubles - doubles)
    if _shows_in_no_list(reading, project, there, live) or is_due(reading, project, reading.ports.clock.now()):
        sweep(reading, project)


def _shows_in_no_list(reading: Reading, project: Project, there: int, live: int) -> bool:
    """Whether only the project's count tells that tasks were deleted, or that there is one more than we know of: a double that
    nobody has touched is in no list of answers."""
    store = reading.ports.store
    return there < live or there > store.tasks_there(project) + store.strangers(project.project_id)


def _told(reading: Reading) -> PullResult:
    states = [annotation.state for annotation in reading.news]
    return PullResult(
        revisions=len(states) - states.count(AnnotationState.TOMBSTONE),
        tombstones=states.count(AnnotationState.TOMBSTONE),
        quarantined=states.count(AnnotationState.QUARANTINED),
        requests=reading.requests,
        lost=reading.lost,
        doubles=reading.doubles,
        unreadable=reading.unreadable,
        swept=reading.swept,
        troubles=tuple(trouble(project.title, error) for project, error in reading.troubles),
    )
