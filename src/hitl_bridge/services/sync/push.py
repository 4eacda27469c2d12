"""Queued items become pre-annotated tasks: write the intent, send, confirm.

A task is promised in the store before it is sent and confirmed after, so a crash at any point is repaired by pushing
again: what is unclear is looked up by its key first, and only what is missing is sent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime

from hitl_bridge.core.assignment import Unplaced
from hitl_bridge.core.gold import is_training
from hitl_bridge.core.model import ADJUDICATION, Item, Project, ProjectKey, PushKey, ReviewTask, TaskState
from hitl_bridge.core.policy import ReviewPolicy, instructions, project_title
from hitl_bridge.core.review.spreading import spread, words_of
from hitl_bridge.core.routing import SLOT
from hitl_bridge.core.sync import newest_parts, next_part, plan_personal_tasks, plan_tasks
from hitl_bridge.errors import AccessRefused, BridgeError, LabelingUnavailable, ProjectChanged, RemoteGone
from hitl_bridge.ports import Clock, LabelingService, ProjectPlan, StateStore
from hitl_bridge.services.desk.assignment import Handed
from hitl_bridge.services.sync.doubles import settle_doubles
from hitl_bridge.services.sync.pages import SHOWS_PRIOR, PageContext, Pages
from hitl_bridge.services.sync.restored import look_up_promised
from hitl_bridge.services.sync.selection import pick
from hitl_bridge.services.sync.sending import Sending, Sent
from hitl_bridge.services.sync.troubles import Trouble, raise_if_all, trouble

PROJECT_DELETED = "its project was deleted in Label Studio; asked again"

LabelConfig = Callable[[str], str]
"""The label config of a tier, by name."""

HandOut = Callable[[Sequence[Item]], Handed]

Progress = Callable[[int, int], None]
"""Told of work done and work in all."""


@dataclass(frozen=True, slots=True)
class PushPorts:
    """What pushing needs of the world. `key` is the workspace's key, of which push keys are made. `hand_out` says who gets what,
    where each reviewer has projects of their own; `context` what pages show beside the items."""

    store: StateStore
    labeling: LabelingService
    label_config: LabelConfig
    clock: Clock
    key: bytes
    hand_out: HandOut | None = None
    context: PageContext | None = None


@dataclass(frozen=True, slots=True)
class PushResult:
    """`created` tasks are new; `already_there` were live before; `rejected` were refused by the labeling service; `pending`
    have an unclear outcome and are looked up by the next push. `replaced` projects were gone, and what was open in them is
    asked again elsewhere; of `restored` ones the label config was put back. `failed` tasks ended the process each time that
    they were to be sent, and their items are set aside. `troubles` are projects that were left alone, with all that was to
    go there. `waiting` items have no room in the review budget yet. `unassigned` are those that nobody can take, with the
    reason; they stay queued. `not_foreseen` is told by a dry run: what the push itself may find or do beside this."""

    created: int = 0
    already_there: int = 0
    rejected: int = 0
    pending: int = 0
    projects: Mapping[str, int] = field(default_factory=dict)
    replaced: int = 0
    restored: int = 0
    troubles: tuple[Trouble, ...] = ()
    failed: int = 0
    waiting: int = 0
    unassigned: tuple[Unplaced, ...] = ()
    not_foreseen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PushWish:
    """What a person has confirmed: give up projects that are gone, so that what was open in them is asked again in a new part;
    put our label config back where somebody changed it."""

    replace_gone: bool = False
    restore_label_config: bool = False


def push(
    ports: PushPorts,
    policy: ReviewPolicy,
    wish: PushWish = PushWish(),
    *,
    progress: Progress | None = None,
) -> PushResult:
    """Brings every queued item into its review project. A project on which nothing can be done does not keep the others
    waiting.

    Raises:
        LabelingUnavailable, AccessRefused: nothing could be done in any project.
    """
    replaced = _replace_gone(ports, policy) if wish.replace_gone else 0
    restored = _restore_label_configs(ports, policy) if wish.restore_label_config else 0
    live = ports.store.task_counts()
    queued = ports.store.queued()
    found, troubled = _look_up_unclear(ports) if queued else (0, {})
    if found:
        queued = ports.store.queued()
    picked = pick(ports.store, policy, ports.key, queued, ports.clock.now())
    if picked.recorded:
        ports.store.record_selection(picked.recorded, ports.clock.now())
    handed = None if ports.hand_out is None else ports.hand_out(picked.items)
    due = _due(ports, picked.items, live, handed)
    result = PushResult(already_there=sum(live.values()) + found, replaced=replaced, restored=restored, waiting=picked.waiting)
    if handed is not None:
        result = replace(result, unassigned=handed.unplaced)
        # All of an item's seats are promised before the first is sent: it is pushed once all of them are there.
        ports.store.intend([task for tasks in due.values() for _, task in tasks])
    told = _Told(progress, sum(map(len, due.values())))
    for place, tasks in due.items():
        if place in troubled:
            continue
        try:
            result = _push_project(ports, policy, _made_ready(ports, policy, place, tasks), result, told)
        except _TROUBLES as error:
            troubled[place] = error
    raise_if_all(list(troubled.values()), len(due.keys() | troubled.keys()))
    return replace(result, troubles=tuple(trouble(_title(policy, place), error) for place, error in troubled.items()))


_TROUBLES = (LabelingUnavailable, RemoteGone, ProjectChanged, AccessRefused)


@dataclass(slots=True)
class _Told:
    """How far a push has come, for whoever watches."""

    progress: Progress | None
    total: int
    done: int = 0

    def more(self, tasks: int) -> None:
        self.done += tasks
        if self.progress is not None:
            self.progress(self.done, self.total)


def _made_ready(
    ports: PushPorts, policy: ReviewPolicy, place: ProjectKey, tasks: Sequence[tuple[Item, ReviewTask]]
) -> tuple[Project, Sequence[tuple[Item, ReviewTask]]]:
    """The project, and the tasks in the order in which they are served: worked out while the labeling service is asked."""
    with ThreadPoolExecutor(1, thread_name_prefix="spread") as beside:
        spread_out = beside.submit(_spread, policy, tasks)
        return _keep_project(ports, policy, place), spread_out.result()


def _push_project(
    ports: PushPorts,
    policy: ReviewPolicy,
    due: tuple[Project, Sequence[tuple[Item, ReviewTask]]],
    sofar: PushResult,
    told: _Told,
) -> PushResult:
    project, tasks = due
    there = look_up_promised(ports.store, ports.labeling, project, [task for _, task in tasks], ports.clock)
    sofar = replace(sofar, already_there=sofar.already_there + len(there))
    pages = Pages(ports.store, policy, ports.key, several_seats=ports.hand_out is not None, context=_context(ports, project))
    sending = Sending(ports.store, ports.labeling, ports.clock, project, pages.of)
    with closing(sending.send([each for each in tasks if each[1].push_key not in there])) as chunks:  # also after Ctrl-C
        for sent in chunks:
            sofar = _plus(sofar, project, sent)
            told.more(sent.tasks)
    return sofar


def _context(ports: PushPorts, project: Project) -> PageContext | None:
    """What is known beside the item, where its page has room for it."""
    shows = ports.context is not None and SHOWS_PRIOR in ports.label_config(project.key.tier)
    return ports.context if shows or project.key.tier == ADJUDICATION else None


def _spread(policy: ReviewPolicy, tasks: Sequence[tuple[Item, ReviewTask]]) -> list[tuple[Item, ReviewTask]]:
    """The same tasks; of those that are due together, near-copies are served apart."""
    texts = [words_of(item.prediction.input, policy.kind.input_field) for item, _ in tasks]
    served = spread(texts, [item.route.priority for item, _ in tasks], slot=SLOT)
    return [(_served_at(item, priority), task) for (item, task), priority in zip(tasks, served, strict=True)]


def _served_at(item: Item, priority: float) -> Item:
    return item if priority == item.route.priority else replace(item, route=replace(item.route, priority=priority))


def _plus(sofar: PushResult, project: Project, sent: Sent) -> PushResult:
    counts = dict(sofar.projects)
    if sent.outcome.created:
        counts[project.title] = counts.get(project.title, 0) + len(sent.outcome.created)
    return replace(
        sofar,
        created=sofar.created + len(sent.outcome.created),
        rejected=sofar.rejected + len(sent.outcome.refused),
        pending=sofar.pending + sent.pending,
        failed=sofar.failed + sent.given_up,
        projects=counts,
    )


def foresee(
    store: StateStore, policy: ReviewPolicy, key: bytes, now: datetime, queued: Sequence[Item], hand_out: HandOut | None = None
) -> PushResult:
    """What `push` would create of what is `queued` then, told without calling anybody; so it needs no labeling service at all."""
    live = store.task_counts()
    picked = pick(store, policy, key, queued, now)
    handed = None if hand_out is None else hand_out(picked.items)
    planned = _planned(key, picked.items, live, [project.key for project in store.projects()], handed)
    titles: dict[str, int] = defaultdict(int)
    for _, task in planned:
        titles[_title(policy, task.project_key)] += 1
    result = PushResult(created=len(planned), already_there=sum(live.values()), projects=dict(titles), waiting=picked.waiting)
    return result if handed is None else replace(result, unassigned=handed.unplaced)


def _planned(
    key: bytes, items: Sequence[Item], live: Mapping[ProjectKey, int], known: Collection[ProjectKey], handed: Handed | None
) -> list[tuple[Item, ReviewTask]]:
    if handed is None:
        return plan_tasks(key, items, live, known)
    own = [item for item in items if is_training(item)]  # in a project of the learner's own, whatever the mode
    return [*plan_personal_tasks(key, items, handed.hands, live, known), *plan_tasks(key, own, live, known)]


def _title(policy: ReviewPolicy, key: ProjectKey) -> str:
    return project_title(key, policy.tier(key.tier).sla)


def _replace_gone(ports: PushPorts, policy: ReviewPolicy) -> int:
    """Closes the tasks of projects that are gone and makes a new part for each; returns how many were gone.

    The old project keeps its row: what was collected in it goes by its id. A tier that is in the settings no more can't
    have a new project.
    """
    known = [project.key for project in ports.store.projects()]
    newest, open_tasks = newest_parts(known).values(), ports.store.task_counts(*_OPEN)
    replaced = 0
    for key in known:
        if not (open_tasks.get(key) or key in newest) or not _is_kept(policy, key):
            continue
        try:
            _keep_project(ports, policy, key)
        except RemoteGone:
            tasks = ports.store.tasks_in(*_OPEN, project=key)
            ports.store.close_gone([task.push_key for task in tasks], PROJECT_DELETED, ports.clock.now())
            if key in newest:
                _keep_project(ports, policy, next_part(key))
            replaced += 1
        except ProjectChanged:
            continue  # it is there; what is wrong with it is told where it is worked on
    return replaced


_OPEN = (TaskState.INTENDED, TaskState.UNKNOWN, TaskState.LIVE)


def _is_kept(policy: ReviewPolicy, key: ProjectKey) -> bool:
    return key.tier in policy.tiers or key.tier == ADJUDICATION


def _restore_label_configs(ports: PushPorts, policy: ReviewPolicy) -> int:
    """Puts our label config back where it was changed; returns in how many projects."""
    in_use, restored = ports.store.task_counts(*_OPEN), 0
    for project in ports.store.projects():
        if not in_use.get(project.key) or not _is_kept(policy, project.key):
            continue
        try:
            _keep_project(ports, policy, project.key)
        except ProjectChanged:
            _keep_project(ports, policy, project.key, restore_config=True)
            restored += 1
        except RemoteGone:
            continue
    return restored


def _look_up_unclear(ports: PushPorts) -> tuple[int, dict[ProjectKey, BridgeError]]:
    """Confirms the tasks of unclear outcome that turn out to be there; returns how many, and where nobody could look."""
    projects = {project.key: project for project in ports.store.projects()}
    unclear: dict[ProjectKey, list[PushKey]] = defaultdict(list)
    for task in ports.store.tasks_in(TaskState.UNKNOWN):
        unclear[task.project_key].append(task.push_key)
    found: int = 0
    troubled: dict[ProjectKey, BridgeError] = {}
    for place, keys in unclear.items():
        if place not in projects:
            continue
        try:
            found += settle_doubles(ports.store, ports.labeling, projects[place], keys, ports.clock.now()).found
        except _TROUBLES as error:
            troubled[place] = error
    return found, troubled


def _due(
    ports: PushPorts, queued: Sequence[Item], live: Mapping[ProjectKey, int], handed: Handed | None
) -> dict[ProjectKey, list[tuple[Item, ReviewTask]]]:
    """The tasks to send now, by project. A task promised before keeps its project."""
    earlier = {task.push_key: task for task in ports.store.tasks_in(TaskState.INTENDED, TaskState.UNKNOWN)}
    known = [project.key for project in ports.store.projects()]
    planned = [(item, earlier.get(task.push_key, task)) for item, task in _planned(ports.key, queued, live, known, handed)]
    due: dict[ProjectKey, list[tuple[Item, ReviewTask]]] = defaultdict(list)
    for item, task in planned:
        due[task.project_key].append((item, task))
    return due


def _keep_project(ports: PushPorts, policy: ReviewPolicy, key: ProjectKey, *, restore_config: bool = False) -> Project:
    tier = policy.tier(key.tier)
    known = {each.key: each for each in ports.store.projects()}
    project = ports.labeling.keep_project(
        ProjectPlan(
            key=key,
            title=_title(policy, key),
            label_config=ports.label_config(key.tier),
            instructions=instructions(key, tier, policy.kind, policy.labels),
            overlap=1 if key.reviewer else tier.reviewers,
            allow_empty=policy.kind.several,
        ),
        known.get(key),
        restore_config=restore_config,
    )
    if project != known.get(key):
        ports.store.record_project(project)
    return project
