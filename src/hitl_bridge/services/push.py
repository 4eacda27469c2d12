"""Queued items become pre-annotated tasks: write the intent, send, confirm.

A task is promised in the store before it is sent and confirmed after, so a crash at any point is repaired by pushing
again: what is unclear is looked up by its key first, and only what is missing is sent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hitl_bridge.core.model import Item, ItemState, Project, ProjectKey, PushKey, ReviewTask, TaskState
from hitl_bridge.core.page import TaskContent, page
from hitl_bridge.core.policy import ReviewPolicy, criteria, instructions, project_title
from hitl_bridge.core.sync import plan_tasks, push_key
from hitl_bridge.ports import Clock, LabelingService, ProjectPlan, StateStore

SEND_AT_ONCE = 200
"""Tasks in one request: about a second of the server's work, and little to look up when the outcome is unclear."""

SETTLE_TIME = timedelta(seconds=60)
"""How long a request whose outcome is unclear may still be at work on the server; nothing is sent again before."""

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
    have an unclear outcome and are looked up by the next push."""

    created: int = 0
    already_there: int = 0
    rejected: int = 0
    pending: int = 0
    projects: Mapping[str, int] = field(default_factory=dict)


def push(ports: PushPorts, policy: ReviewPolicy, *, progress: Progress | None = None) -> PushResult:
    """Brings every queued item into its review project."""
    live = ports.store.task_counts()
    queued = ports.store.items_in(ItemState.QUEUED)
    found = 0 if not queued else _look_up_unclear(ports)
    if found:
        queued = ports.store.items_in(ItemState.QUEUED)
    due = _promised(ports, queued, live)
    result = PushResult(already_there=sum(live.values()) + found)
    done = 0
    for place, tasks in due.items():
        project = _keep_project(ports, policy, place)
        for chunk in _chunks(tasks, SEND_AT_ONCE):
            result = _send(ports, policy, project, chunk, result)
            done += len(chunk)
            if progress is not None:
                progress(done, sum(map(len, due.values())))
    return result


def foresee(store: StateStore, policy: ReviewPolicy, key: bytes) -> PushResult:
    """What `push` would create, told without calling anybody; so it needs no labeling service at all."""
    live = store.task_counts()
    planned = plan_tasks(key, store.items_in(ItemState.QUEUED), live)
    titles: dict[str, int] = defaultdict(int)
    for _, task in planned:
        titles[_title(policy, task.project_key)] += 1
    return PushResult(created=len(planned), already_there=sum(live.values()), projects=dict(titles))


def _title(policy: ReviewPolicy, key: ProjectKey) -> str:
    return project_title(key, policy.tier(key.tier).sla)


def _look_up_unclear(ports: PushPorts) -> int:
    """Confirms the tasks of unclear outcome that turn out to be there; returns how many."""
    projects = {project.key: project for project in ports.store.projects()}
    unclear: dict[ProjectKey, list[PushKey]] = defaultdict(list)
    for task in ports.store.tasks_in(TaskState.UNKNOWN):
        unclear[task.project_key].append(task.push_key)
    found = 0
    for place, keys in unclear.items():
        if place in projects:
            there = ports.labeling.find_tasks(projects[place], keys)
            ports.store.confirm(projects[place].project_id, there, ports.clock.now())
            found += len(there)
    return found


def _promised(
    ports: PushPorts, queued: Sequence[Item], live: Mapping[ProjectKey, int]
) -> dict[ProjectKey, list[tuple[Item, ReviewTask]]]:
    """The tasks to send now, by project, each written down as a promise. A task promised before keeps its project."""
    earlier = {task.push_key: task for task in ports.store.tasks_in(TaskState.INTENDED, TaskState.UNKNOWN)}
    planned = [(item, earlier.get(task.push_key, task)) for item, task in plan_tasks(ports.key, queued, live)]
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
    before = [push_key(ports.key, replace(item, round=number)) for number in range(1, item.round)]
    earlier = ports.store.annotations_of(before) if before else []
    return page(task.push_key, item, earlier, policy.kind, criteria(policy.tier(task.project_key.tier)))


def _chunks(tasks: Sequence[tuple[Item, ReviewTask]], size: int) -> Iterator[Sequence[tuple[Item, ReviewTask]]]:
    for start in range(0, len(tasks), size):
        yield tasks[start : start + size]
