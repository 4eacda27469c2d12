"""A labeling service in memory: small, but the real thing to its callers.

It keeps tasks and annotations in Label Studio's own form and translates them with the same code, so that what is refused,
unclear or not to be believed there is so here. Beside the port it has the reviewers' side of the page, and troubles that
can be ordered for the next calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hitl_bridge.adapters.label_studio import payloads
from hitl_bridge.adapters.label_studio.label_configs import LabelConfig
from hitl_bridge.adapters.label_studio.payloads import Prepared, Reader
from hitl_bridge.core.model import (
    JSON,
    AnnotationId,
    Project,
    ProjectId,
    ProjectKey,
    PushKey,
    TaskId,
)
from hitl_bridge.core.task_types import Controls
from hitl_bridge.errors import BridgeError, LabelingUnavailable, RemoteGone, UnknownName
from hitl_bridge.ports import (
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
        self._failures: list[BridgeError] = []
        self._lose_reply = False

    # ------------------------------------------------------------------------------------------- the service

    def ping(self) -> ServiceStatus:
        self._called()
        return ServiceStatus(self._url, "in memory", "bridge@example.com")

    def keep_project(self, plan: ProjectPlan, known: Project | None) -> Project:
        self._called()
        config = LabelConfig(plan.label_config)
        there = self._marked(plan.key) if known is None else known.project_id
        tasks = {} if there is None else self._project(there).tasks
        project_id = ProjectId(self._new_id()) if there is None else there
        self._projects[project_id] = _Project(plan, config, plan.key.mark, tasks)
        return Project(plan.key, project_id, plan.title, f"{self._url}/projects/{project_id}/", config.sha256)

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
        found = payloads.remote_tasks([counted(row) for row in self._project(project.project_id).tasks.values()])
        return [task for task in found if task.push_key in set(keys)]

    def task_count(self, project: Project) -> int:
        self._called()
        return len(self._project(project.project_id).tasks)

    def changed_since(self, project: Project, cursor: str | None) -> Iterator[RemoteTaskState]:
        self._called()
        there = self._project(project.project_id)
        since = "" if cursor is None else payloads.filter_time(cursor)
        rows = [row for row in there.tasks.values() if row["touched"] and str(row["updated_at"]) >= since]
        reader = Reader(there.config, self._name_of, _OUR_ID)
        for row in sorted(rows, key=lambda row: str(row["updated_at"])):
            state = payloads.task_state(row, lambda: reader)
            if state is not None and (state.annotations or cursor is not None):
                yield state

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
        result = self._result(TaskId(payloads.field(row, "id", int)), controls)
        changes: dict[str, JSON] = {"result": result, "updated_by": self._person(reviewer), "updated_at": self._tick()}
        kept = [one for one in payloads.rows_of(row, "annotations") if one is not annotation]
        self._touch(row, [*kept, {**annotation, **changes}])

    def delete_annotation(self, annotation_id: AnnotationId) -> None:
        row, annotation = self._annotation(annotation_id)
        self._touch(row, [one for one in payloads.rows_of(row, "annotations") if one is not annotation])

    def annotate_in_bulk(self, project: Project, reviewer: str) -> None:
        """The button that turns every prediction into an annotation, without anybody looking."""
        for task_id, row in self._project(project.project_id).tasks.items():
            prediction = payloads.rows_of(row, "predictions")[0]
            result = payloads.rows_of(prediction, "result")
            self._annotate(task_id, reviewer, result, cancelled=False, lead_time=None, parent_prediction=1)

    def describe(self, project_id: ProjectId, description: str) -> None:
        """Somebody rewrites the project's description, and the bridge's mark is gone from it."""
        self._project(project_id).description = description

    def delete_task(self, task_id: TaskId) -> None:
        self._home(task_id).tasks.pop(task_id)

    def delete_project(self, key: ProjectKey) -> None:
        self._projects = {pid: one for pid, one in self._projects.items() if one.plan.key != key}

    def page(self, task_id: TaskId) -> Mapping[str, JSON]:
        """What the reviewer sees: `task.data`, and the prediction that the page begins with."""
        row = self._home(task_id).tasks[task_id]
        return {"data": row["data"], "prediction": payloads.rows_of(row, "predictions")[0]}

    def tasks(self) -> list[PushKey]:
        """The keys of every task there is, doubles included."""
        rows = [row for one in self._projects.values() for row in one.tasks.values()]
        return [key for row in rows if (key := payloads.bridge_key(row)) is not None]

    # --------------------------------------------------------------------------------------------- troubles

    def fail_next(self, failure: BridgeError | None = None, times: int = 1) -> None:
        """The next `times` calls raise `failure` (LabelingUnavailable unless told otherwise) and do nothing."""
        self._failures += [failure or LabelingUnavailable("The labeling service is away.")] * times

    def lose_next_reply(self) -> None:
        self._lose_reply = True

    # ---------------------------------------------------------------------------------------------- insides

    def _checked(self, content: TaskContent, config: LabelConfig) -> Prepared | Refusal:
        if content.push_key in self.refused:
            return Refusal(content.push_key, self.refused[content.push_key])
        return payloads.prepare(content, config)

    def _store(self, there: _Project, content: TaskContent) -> RemoteTask:
        task_id, at = TaskId(self._new_id()), self._tick()
        row = dict(payloads.task_json(content, there.config))
        row |= {"id": int(task_id), "created_at": at, "updated_at": at, "annotations": [], "touched": False}
        there.tasks[task_id] = row
        return RemoteTask(content.push_key, task_id, at)

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
        self._touch(row, [*payloads.rows_of(row, "annotations"), annotation])
        return AnnotationId(annotation_id)

    def _result(self, task_id: TaskId, controls: Controls) -> list[JSON]:
        """As the page sends it: only predicted regions carry the bridge's ids."""
        config = self._home(task_id).config
        regions = [config.region(name, values) for name, values in controls.items() if values]
        return [{**region, "id": f"page-{self._new_id()}"} for region in regions]

    def _touch(self, row: dict[str, JSON], annotations: list[JSON]) -> None:
        row.update({"annotations": annotations, "updated_at": self._tick(), "touched": True})

    def _annotation(self, annotation_id: AnnotationId) -> tuple[dict[str, JSON], Mapping[str, JSON]]:
        for there in self._projects.values():
            for row in there.tasks.values():
                for one in payloads.rows_of(row, "annotations"):
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
        return payloads.filter_time((_EPOCH + timedelta(milliseconds=self._ticks)).isoformat())


def counted(row: Mapping[str, JSON]) -> JSON:
    """A task's row with the counter that tells a task with annotations from its double."""
    return {**row, "total_annotations": len(payloads.rows_of(row, "annotations"))}
