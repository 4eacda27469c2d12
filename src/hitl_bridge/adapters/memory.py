"""A labeling service in memory: small, but the real thing to its callers.

It keeps tasks and annotations in Label Studio's own form and translates them with the same code, so that what is refused,
unclear or not to be believed there is so here. Beside the port it has the reviewers' side of the page, and troubles that
can be ordered for the next calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hitl_bridge.adapters.label_studio import payloads, remote, replies
from hitl_bridge.adapters.label_studio.label_configs import LabelConfig
from hitl_bridge.adapters.label_studio.payloads import Prepared
from hitl_bridge.adapters.label_studio.remote import Reader
from hitl_bridge.core.model import (
    JSON,
    AnnotationId,
    Project,
    ProjectId,
    ProjectKey,
    PushKey,
    TaskId,
)
from hitl_bridge.core.sync import OVERLAP, label_config_changed
from hitl_bridge.core.task_types import Controls
from hitl_bridge.errors import BridgeError, LabelingUnavailable, RemoteGone, UnknownName
from hitl_bridge.ports import (
    ManifestTask,
    ProjectLook,
    ProjectPlan,
    PushOutcome,
    Refusal,
    RemoteTask,
    RemoteTaskState,
    ServiceStatus,
    TaskContent,
)

_OUR_ID = 0
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Project:
    plan: ProjectPlan
    config: LabelConfig
    description: str
    tasks: dict[TaskId, dict[str, JSON]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup of the labeling service holds."""

    projects: dict[ProjectId, _Project]
    last_id: int
    people: dict[str, int]


class InMemoryLabeling:
    """Implements `ports.LabelingService`; `answer`, `revise`, `skip` and the deletions are what reviewers do.

    `refused` names keys that it will not take. `fail_next` makes the next call raise. `lose_next_reply` lets the next
    `create_tasks` take effect and its reply be lost.
    """

    def __init__(self, url: str = "http://labeling.invalid") -> None:
        self.requests_made = 0
        self.refused: dict[PushKey, str] = {}
        self._url = url
        self._projects: dict[ProjectId, _Project] = {}
        self._people: dict[str, int] = {"bridge@example.com": _OUR_ID}
        self._last_id = 0
        self._ticks = 0
        self._skew = timedelta(0)
        self._unreadable: set[TaskId] = set()
        self._drafts: set[TaskId] = set()
        self._failures: list[BridgeError] = []
        self._lose_reply = False

    # ------------------------------------------------------------------------------------------- the service

    def ping(self) -> ServiceStatus:
        self._called()
        return ServiceStatus(self._url, "in memory", "bridge@example.com")

    def keep_project(self, plan: ProjectPlan, known: Project | None, *, restore_config: bool = False) -> Project:
        self._called()
        config = LabelConfig(plan.label_config)
        there = self._marked(plan.key) if known is None else known.project_id
        tasks = {} if there is None else self._project(there).tasks
        if known is not None and not restore_config:
            self._refuse_changed_config(known, config.sha256)
        project_id = ProjectId(self._new_id()) if there is None else there
        self._projects[project_id] = _Project(plan, config, plan.key.mark, tasks)
        url, epoch = f"{self._url}/projects/{project_id}/", 0 if known is None else known.epoch
        return Project(plan.key, project_id, plan.title, url, config.sha256, epoch)

    def create_tasks(self, project: Project, tasks: Sequence[TaskContent]) -> PushOutcome:
        self._called()
        there = self._project(project.project_id)
        created: list[RemoteTask] = []
        refused: list[Refusal] = []
        for content in tasks:
            checked = self._checked(content, there.config)
            if isinstance(checked, Refusal):
                refused.append(checked)
            else:
                created.append(self._store(there, content))
        if self._lose_reply:
            self._lose_reply = False
            return PushOutcome((), tuple(refused), tuple(task.push_key for task in created), "the reply was lost")
        return PushOutcome(tuple(created), tuple(refused))

    def find_tasks(self, project: Project, keys: Sequence[PushKey]) -> list[RemoteTask]:
        self._called()
        found = remote.remote_tasks([counted(row) for row in self._project(project.project_id).tasks.values()])
        return [task for task in found if task.push_key in set(keys)]

    def delete_untouched(self, project: Project, task: RemoteTask) -> bool:
        self._called()
        row = self._project(project.project_id).tasks.get(task.task_id)
        if row is None:
            return True
        if remote.bridge_key(row) != task.push_key or replies.rows_of(row, "annotations") or task.task_id in self._drafts:
            return False
        self.delete_task(task.task_id)
        return True

    def look(self, project: Project) -> ProjectLook:
        self._called()
        there = self._project(project.project_id)
        return ProjectLook(len(there.tasks), there.config.sha256)

    def changed_since(self, project: Project, cursor: str | None) -> Iterator[RemoteTaskState]:
        self._called()
        tasks = self._project(project.project_id).tasks
        newest = "" if cursor is None else min(cursor, self._now())
        since = replies.filter_time(newest, OVERLAP) if newest else ""
        rows = [row for row in tasks.values() if row["touched"] and str(row["updated_at"]) >= since]
        for row in sorted(rows, key=lambda row: str(row["updated_at"])):
            state = self._state(project, row)
            if state is not None and (state.annotations or state.unreadable or cursor is not None):
                yield state

    def states_of(self, project: Project, ids: Sequence[TaskId]) -> list[RemoteTaskState]:
        self._called()
        tasks = self._project(project.project_id).tasks
        states = [self._state(project, tasks[task_id]) for task_id in ids if task_id in tasks]
        return [state for state in states if state is not None]

    def manifest(self, project: Project) -> Iterator[ManifestTask]:
        self._called()
        for row in self._project(project.project_id).tasks.values():
            yield remote.manifest_task(row)

    def task_url(self, project: Project, task_id: TaskId) -> str:
        return f"{self._url}/projects/{project.project_id}/data?task={task_id}"

    # ------------------------------------------------------------------------------------- the reviewers' side

    def answer(self, task_id: TaskId, reviewer: str, controls: Controls, *, lead_time: float | None = 12.0) -> AnnotationId:
        """A reviewer fills in the page and submits. Nothing is checked: Label Studio checks nothing either."""
        return self._annotate(task_id, reviewer, self._result(task_id, controls), cancelled=False, lead_time=lead_time)

    def skip(self, task_id: TaskId, reviewer: str) -> AnnotationId:
        return self._annotate(task_id, reviewer, [], cancelled=True, lead_time=3.0)

    def revise(self, annotation_id: AnnotationId, reviewer: str, controls: Controls) -> None:
        """Somebody, not always who gave it, changes an answer in place."""
        row, annotation = self._annotation(annotation_id)
        result = self._result(TaskId(replies.field(row, "id", int)), controls)
        changes: dict[str, JSON] = {"result": result, "updated_by": self._person(reviewer), "updated_at": self._tick()}
        kept = [one for one in replies.rows_of(row, "annotations") if one is not annotation]
        self._touch(row, [*kept, {**annotation, **changes}])

    def delete_annotation(self, annotation_id: AnnotationId) -> None:
        row, annotation = self._annotation(annotation_id)
        self._touch(row, [one for one in replies.rows_of(row, "annotations") if one is not annotation])

    def annotate_in_bulk(self, project: Project, reviewer: str) -> None:
        """The button that turns every prediction into an annotation, without anybody looking."""
        for task_id, row in self._project(project.project_id).tasks.items():
            prediction = replies.rows_of(row, "predictions")[0]
            result = replies.rows_of(prediction, "result")
            self._annotate(task_id, reviewer, result, cancelled=False, lead_time=None, parent_prediction=1)

    def describe(self, project_id: ProjectId, description: str) -> None:
        """Somebody rewrites the project's description, and the bridge's mark is gone from it."""
        self._project(project_id).description = description

    def delete_task(self, task_id: TaskId) -> None:
        self._home(task_id).tasks.pop(task_id)

    def begin_draft(self, task_id: TaskId) -> None:
        """Somebody has begun to answer and not submitted."""
        self._drafts.add(task_id)

    def delete_account(self, reviewer: str) -> None:
        """Their annotations stay, without a name; no task is touched by it."""
        number = self._person(reviewer)
        for row in self._rows():
            for name in ("completed_by", "updated_by"):
                kept = [{**one, name: None} if one.get(name) == number else one for one in annotations_of(row)]
                row["annotations"] = kept

    def move_annotations(self, task_id: TaskId, to: TaskId) -> None:
        """As the clean-up of duplicates does: no time moves, and the emptied task is gone."""
        home = self._home(task_id)
        moved = annotations_of(home.tasks.pop(task_id))
        home.tasks[to]["annotations"] = [*annotations_of(home.tasks[to]), *moved]

    def annotate_unnoticed(self, task_id: TaskId, reviewer: str, controls: Controls) -> AnnotationId:
        """The database was locked between storing the annotation and touching its task: no time moves."""
        row = self._home(task_id).tasks[task_id]
        before = {name: row[name] for name in ("updated_at", "touched")}
        given = self.answer(task_id, reviewer, controls)
        row.update(before)
        return given

    def relabel(self, project_id: ProjectId, label_config: str) -> None:
        """Somebody changes the label config."""
        self._project(project_id).config = LabelConfig(label_config)

    def backup(self) -> Backup:
        """Everything as it is now."""
        return Backup(deepcopy(self._projects), self._last_id, dict(self._people))

    def restore(self, backup: Backup) -> None:
        """Back to how it was then; ids that were given since are given again."""
        self._projects, self._last_id, self._people = deepcopy(backup.projects), backup.last_id, dict(backup.people)

    def delete_project(self, key: ProjectKey) -> None:
        self._projects = {pid: one for pid, one in self._projects.items() if one.plan.key != key}

    def page(self, task_id: TaskId) -> Mapping[str, JSON]:
        """What the reviewer sees: `task.data`, and the prediction that the page begins with."""
        row = self._home(task_id).tasks[task_id]
        return {"data": row["data"], "prediction": replies.rows_of(row, "predictions")[0]}

    def tasks(self) -> list[PushKey]:
        """The keys of every task there is, doubles included."""
        return [key for row in self._rows() if (key := remote.bridge_key(row)) is not None]

    # --------------------------------------------------------------------------------------------- troubles

    def fail_next(self, failure: BridgeError | None = None, times: int = 1) -> None:
        """The next `times` calls raise `failure` (LabelingUnavailable unless told otherwise) and do nothing."""
        self._failures += [failure or LabelingUnavailable("The labeling service is away.")] * times

    def lose_next_reply(self) -> None:
        self._lose_reply = True

    def make_unreadable(self, task_id: TaskId, *, unreadable: bool = True) -> None:
        """From now on this task can't be shown, as one with half of a surrogate pair in an answer; or it can again."""
        (self._unreadable.add if unreadable else self._unreadable.discard)(task_id)

    def double(self, task_id: TaskId) -> TaskId:
        """A request that had been given up is carried out after all: the same task once more."""
        home, again, at = self._home(task_id), TaskId(self._new_id()), self._tick()
        times: dict[str, JSON] = {"id": int(again), "created_at": at, "updated_at": at}
        home.tasks[again] = {**home.tasks[task_id], **times, "annotations": [], "touched": False}
        return again

    def turn_clock(self, by: timedelta) -> None:
        """Sets the labeling service's own clock forward or back."""
        self._skew += by

    # ---------------------------------------------------------------------------------------------- insides

    def _refuse_changed_config(self, known: Project, wanted: str) -> None:
        if self._project(known.project_id).config.sha256 not in (known.label_config_sha256, wanted):
            raise label_config_changed(known)

    def _state(self, project: Project, row: Mapping[str, JSON]) -> RemoteTaskState | None:
        if row["id"] in self._unreadable:
            return remote.unreadable_state(row, "the labeling service can't show it")
        reader = Reader(self._project(project.project_id).config, self._name_of, _OUR_ID)
        return remote.task_state(row, lambda: reader)

    def _rows(self) -> list[dict[str, JSON]]:
        return [row for one in self._projects.values() for row in one.tasks.values()]

    def _checked(self, content: TaskContent, config: LabelConfig) -> Prepared | Refusal:
        if content.push_key in self.refused:
            return Refusal(content.push_key, self.refused[content.push_key])
        return payloads.prepare(content, config)

    def _store(self, there: _Project, content: TaskContent) -> RemoteTask:
        task_id, at = TaskId(self._new_id()), self._tick()
        row = dict(payloads.task_json(content, there.config))
        row |= {"id": int(task_id), "created_at": at, "updated_at": at, "annotations": [], "touched": False}
        there.tasks[task_id] = row
        return RemoteTask(content.push_key, task_id)

    def _annotate(
        self,
        task_id: TaskId,
        reviewer: str,
        result: Sequence[JSON],
        *,
        cancelled: bool,
        lead_time: float | None,
        parent_prediction: int | None = None,
    ) -> AnnotationId:
        row, at, annotation_id = self._home(task_id).tasks[task_id], self._tick(), self._new_id()
        annotation: dict[str, JSON] = {
            "id": annotation_id,
            "created_at": at,
            "updated_at": at,
            "completed_by": self._person(reviewer),
            "updated_by": self._person(reviewer),
            "was_cancelled": cancelled,
            "result": list(result),
            "lead_time": lead_time,
            "parent_prediction": parent_prediction,
        }
        self._touch(row, [*replies.rows_of(row, "annotations"), annotation])
        return AnnotationId(annotation_id)

    def _result(self, task_id: TaskId, controls: Controls) -> list[JSON]:
        """As the page sends it: only predicted regions carry the bridge's ids."""
        config = self._home(task_id).config
        regions = [region for name, values in controls.items() if values for region in config.regions(name, values)]
        return [{**region, "id": f"page-{self._new_id()}"} for region in regions]

    def _touch(self, row: dict[str, JSON], annotations: list[JSON]) -> None:
        row.update({"annotations": annotations, "updated_at": self._tick(), "touched": True})

    def _annotation(self, annotation_id: AnnotationId) -> tuple[dict[str, JSON], Mapping[str, JSON]]:
        for there in self._projects.values():
            for row in there.tasks.values():
                for one in replies.rows_of(row, "annotations"):
                    if isinstance(one, Mapping) and one.get("id") == annotation_id:
                        return row, one
        raise UnknownName("annotation", str(annotation_id))

    def _home(self, task_id: TaskId) -> _Project:
        for there in self._projects.values():
            if task_id in there.tasks:
                return there
        raise UnknownName("task", str(task_id))

    def _project(self, project_id: ProjectId) -> _Project:
        if project_id not in self._projects:
            raise RemoteGone(f"Project {project_id} is not in the labeling service any more.", remedy=payloads.GONE_REMEDY)
        return self._projects[project_id]

    def _marked(self, key: ProjectKey) -> ProjectId | None:
        return next((pid for pid, one in self._projects.items() if key.mark in one.description.splitlines()), None)

    def _person(self, email: str) -> int:
        return self._people.setdefault(email, len(self._people))

    def _name_of(self, user_id: int) -> str:
        return next(email for email, number in self._people.items() if number == user_id)

    def _called(self) -> None:
        self.requests_made += 1
        if self._failures:
            raise self._failures.pop(0)

    def _new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _tick(self) -> str:
        """A time of its own, a millisecond after the one before."""
        self._ticks += 1
        return self._now()

    def _now(self) -> str:
        return replies.filter_time((_EPOCH + self._skew + timedelta(milliseconds=self._ticks)).isoformat())


def annotations_of(row: Mapping[str, JSON]) -> list[Mapping[str, JSON]]:
    return [one for one in replies.rows_of(row, "annotations") if isinstance(one, Mapping)]


def counted(row: Mapping[str, JSON]) -> JSON:
    """A task's row with the counter that tells a task with annotations from its double."""
    return {**row, "total_annotations": len(replies.rows_of(row, "annotations"))}
