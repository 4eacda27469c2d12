"""Queued items become pre-annotated tasks: write the intent, send, confirm.

A task is promised in the store before it is sent and confirmed after, so a crash at any point is repaired by pushing
again: what is unclear is looked up by its key first, and only what is missing is sent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hitl_bridge.core.model import ADJUDICATION, Annotation, Item, ItemState, Project, ProjectKey, PushKey, ReviewTask, TaskState
from hitl_bridge.core.page import TaskContent, page
from hitl_bridge.core.policy import ReviewPolicy, criteria, instructions, project_title
from hitl_bridge.core.review.consensus import deciding_answers
from hitl_bridge.core.sync import newest_parts, next_part, plan_tasks, push_key
from hitl_bridge.errors import RemoteGone
from hitl_bridge.ports import Clock, LabelingService, ProjectPlan, StateStore
from hitl_bridge.services.troubles import Trouble, trouble

SEND_AT_ONCE = 200
"""Tasks in one request: about a second of the server's work, and little to look up when the outcome is unclear."""

SETTLE_TIME = timedelta(seconds=60)
"""How long a request whose outcome is unclear may still be at work on the server; nothing is sent again before."""

PROJECT_DELETED = "its project was deleted in Label Studio; asked again"

LabelConfig = Callable[[str], str]
"""The label config of a tier, by name."""

Progress = Callable[[int, int], None]
"""Told of work done and work in all."""


@dataclass(frozen=True, slots=True)
class PushPorts:
    """What pushing needs of the world. `key` is the workspace's key, of which push keys are made."""

    store: StateStore
    labeling: LabelingService
    label_config: LabelConfig
    clock: Clock
    key: bytes


@dataclass(frozen=True, slots=True)
class PushResult:
    """`created` tasks are new; `already_there` were live before; `rejected` were refused by the labeling service; `pending`
    have an unclear outcome and are looked up by the next push. `replaced` projects were gone, and what was open in them is
    asked again elsewhere; `troubles` are projects that are gone and were left alone, with all that was to go there."""

    created: int = 0
    already_there: int = 0
    rejected: int = 0
    pending: int = 0
    projects: Mapping[str, int] = field(default_factory=dict)
    replaced: int = 0
    troubles: tuple[Trouble, ...] = ()


def push(ports: PushPorts, policy: ReviewPolicy, *, replace_gone: bool = False, progress: Progress | None = None) -> PushResult:
    """Brings every queued item into its review project. A project that is gone does not keep the others waiting.

    Args:
        replace_gone: give up projects that are gone: what was open in them is asked again in a new part.
    """
    replaced = _replace_gone(ports, policy) if replace_gone else 0
    live = ports.store.task_counts()
    queued = ports.store.items_in(ItemState.QUEUED)
    found, gone = _look_up_unclear(ports) if queued else (0, {})
    if found:
        queued = ports.store.items_in(ItemState.QUEUED)
    due = _promised(ports, queued, live)
    result = PushResult(already_there=sum(live.values()) + found, replaced=replaced)
    done = 0
    for place, tasks in due.items():
        if place in gone:
            continue
        try:
            project = _keep_project(ports, policy, place)
            for chunk in _chunks(tasks, SEND_AT_ONCE):
                result = _send(ports, policy, project, chunk, result)
                done += len(chunk)
                if progress is not None:
                    progress(done, sum(map(len, due.values())))
        except RemoteGone as error:
            gone[place] = error
    return replace(result, troubles=tuple(trouble(_title(policy, place), error) for place, error in gone.items()))


def foresee(store: StateStore, policy: ReviewPolicy, key: bytes) -> PushResult:
    """What `push` would create, told without calling anybody; so it needs no labeling service at all."""
    live = store.task_counts()
    planned = plan_tasks(key, store.items_in(ItemState.QUEUED), live, [project.key for project in store.projects()])
    titles: dict[str, int] = defaultdict(int)
    for _, task in planned:
        titles[_title(policy, task.project_key)] += 1
    return PushResult(created=len(planned), already_there=sum(live.values()), projects=dict(titles))


def _title(policy: ReviewPolicy, key: ProjectKey) -> str:
    return project_title(key, policy.tier(key.tier).sla)


def _replace_gone(ports: PushPorts, policy: ReviewPolicy) -> int:
    """Closes the tasks of projects that are gone and makes a new part for each; returns how many were gone.

    The old project keeps its row: what was collected in it goes by its id. A tier that is in the settings no more can't
    have a new project.
    """
    known = [project.key for project in ports.store.projects()]
    newest = newest_parts(known).values()
    open_tasks = ports.store.tasks_in(TaskState.INTENDED, TaskState.UNKNOWN, TaskState.LIVE)
    replaced = 0
    for key in known:
        tasks = [task.push_key for task in open_tasks if task.project_key == key]
        if not (tasks or key in newest) or not (key.tier in policy.tiers or key.tier == ADJUDICATION):
            continue
        try:
            _keep_project(ports, policy, key)
        except RemoteGone:
            ports.store.close_gone(tasks, PROJECT_DELETED, ports.clock.now())
            if key in newest:
                _keep_project(ports, policy, next_part(key))
            replaced += 1
    return replaced


def _look_up_unclear(ports: PushPorts) -> tuple[int, dict[ProjectKey, RemoteGone]]:
    """Confirms the tasks of unclear outcome that turn out to be there; returns how many, and which projects are gone."""
    projects = {project.key: project for project in ports.store.projects()}
    unclear: dict[ProjectKey, list[PushKey]] = defaultdict(list)
    for task in ports.store.tasks_in(TaskState.UNKNOWN):
        unclear[task.project_key].append(task.push_key)
    found, gone = 0, {}
    for place, keys in unclear.items():
        if place not in projects:
            continue
        try:
            there = ports.labeling.find_tasks(projects[place], keys)
        except RemoteGone as error:
            gone[place] = error
        else:
            ports.store.confirm(projects[place].project_id, there, ports.clock.now())
            found += len(there)
    return found, gone


def _promised(
    ports: PushPorts, queued: Sequence[Item], live: Mapping[ProjectKey, int]
) -> dict[ProjectKey, list[tuple[Item, ReviewTask]]]:
    """The tasks to send now, by project, each written down as a promise. A task promised before keeps its project."""
    earlier = {task.push_key: task for task in ports.store.tasks_in(TaskState.INTENDED, TaskState.UNKNOWN)}
    known = [project.key for project in ports.store.projects()]
    planned = [(item, earlier.get(task.push_key, task)) for item, task in plan_tasks(ports.key, queued, live, known)]
    ports.store.intend([task for _, task in planned if task.push_key not in earlier])
    due: dict[ProjectKey, list[tuple[Item, ReviewTask]]] = defaultdict(list)
    for item, task in planned:
        due[task.project_key].append((item, task))
    return due


def _keep_project(ports: PushPorts, policy: ReviewPolicy, key: ProjectKey) -> Project:
    tier = policy.tier(key.tier)
    known = {each.key: each for each in ports.store.projects()}
    project = ports.labeling.keep_project(
        ProjectPlan(
            key=key,
            title=_title(policy, key),
            label_config=ports.label_config(key.tier),
            instructions=instructions(key, tier, policy.labels),
            overlap=tier.reviewers,
        ),
        known.get(key),
    )
    ports.store.record_project(project)
    return project


def _send(
    ports: PushPorts, policy: ReviewPolicy, project: Project, tasks: Sequence[tuple[Item, ReviewTask]], sofar: PushResult
) -> PushResult:
    now = ports.clock.now()
    ready = [(item, task) for item, task in tasks if _may_be_sent(task, now)]
    waiting = len(tasks) - len(ready)
    contents = [_content(ports, policy, item, task) for item, task in ready]
    ports.store.mark_unknown([content.push_key for content in contents], now)
    outcome = ports.labeling.create_tasks(project, contents)
    ports.store.confirm(project.project_id, outcome.created, ports.clock.now())
    ports.store.refuse(outcome.refused, ports.clock.now())
    counts = dict(sofar.projects)
    counts[project.title] = counts.get(project.title, 0) + len(outcome.created)
    return replace(
        sofar,
        created=sofar.created + len(outcome.created),
        rejected=sofar.rejected + len(outcome.refused),
        pending=sofar.pending + len(outcome.unknown) + waiting,
        projects=counts,
    )


def _may_be_sent(task: ReviewTask, now: datetime) -> bool:
    """A task whose outcome is unclear is not sent again while the server may still be at work on it."""
    return task.state is TaskState.INTENDED or task.sent_at is None or now - task.sent_at >= SETTLE_TIME


def _content(ports: PushPorts, policy: ReviewPolicy, item: Item, task: ReviewTask) -> TaskContent:
    disputed = _disputed(ports, policy, item) if item.route.tier == ADJUDICATION else ()
    return page(task.push_key, item, disputed, policy.kind, criteria(policy.tier(task.project_key.tier)))


def _disputed(ports: PushPorts, policy: ReviewPolicy, item: Item) -> Sequence[Annotation]:
    """The answers that an adjudicator chooses from: those that counted in the round that led to the dispute."""
    before = [push_key(ports.key, replace(item, round=number)) for number in range(1, item.round)]
    asked = [task for task in ports.store.tasks_by_key(before).values() if task.project_key.tier != ADJUDICATION]
    if not asked:
        return ()
    last = max(asked, key=lambda task: task.round)
    reviewed = replace(item, route=replace(item.route, tier=last.project_key.tier))
    return deciding_answers(ports.store.standing_annotations([last.push_key]), policy.settling(reviewed).eligible)


def _chunks(tasks: Sequence[tuple[Item, ReviewTask]], size: int) -> Iterator[Sequence[tuple[Item, ReviewTask]]]:
    for start in range(0, len(tasks), size):
        yield tasks[start : start + size]
