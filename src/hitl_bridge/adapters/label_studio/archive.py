"""A Label Studio project that the bridge did not make, read whole and left as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from hitl_bridge.adapters.label_studio import payloads, remote, replies
from hitl_bridge.adapters.label_studio.archived_control import ArchivedControl, names_of
from hitl_bridge.adapters.label_studio.client import LabelStudioClient
from hitl_bridge.adapters.label_studio.label_configs import fingerprint, parse_xml
from hitl_bridge.adapters.label_studio.listing import TaskLists, remote_project
from hitl_bridge.core.model import JSON, AnnotationId, JSONObject, Project, ProjectId, ProjectKey, TaskId
from hitl_bridge.core.sync import OVERLAP
from hitl_bridge.core.task_types.controls import RATIONALE, Form
from hitl_bridge.errors import RefusedForSafety, UsageError
from hitl_bridge.ports import ArchivedAnswer, ArchivedProject, ArchivedTask

PAGE: Final = 100
BULK: Final = "it was made from the prediction in bulk, without anybody looking"
NOBODY: Final = "the account that gave it was deleted"


class LabelStudioArchive:
    """Implements `ports.Archive`."""

    def __init__(self, client: LabelStudioClient) -> None:
        self._client = client
        self._names: dict[int, str] = {}

    def project(self, project_id: ProjectId, control: str, form: Form) -> ArchivedProject:
        with remote_project(project_id, f"number {project_id}"):
            there = self._client.get(f"/api/projects/{project_id}/")
        if any(line.startswith(payloads.MARK_PREFIX) for line in payloads.description_lines(there)):
            raise RefusedForSafety(
                f"Project {project_id} is kept by HITL Bridge: there is nothing to adopt.",
                remedy="Its answers are brought back by `hitl-bridge pull`.",
            )
        xml = replies.field(there, "label_config", str)
        root = parse_xml(xml)
        found = ArchivedControl.of(root, control, form)
        if found is None:
            raise UsageError(
                f"Project {project_id} has no control {control!r} by which {form.value}.",
                remedy=f"Name one of: {', '.join(names_of(root, form)) or '(it has none)'}.",
            )
        title, url = replies.field(there, "title", str), f"{self._client.url}/projects/{project_id}/"
        return ArchivedProject(project_id, title, url, xml, fingerprint(xml), control, form, found.shows)

    def tasks(self, project: ArchivedProject) -> Iterator[ArchivedTask]:
        asked = ArchivedControl.of(parse_xml(project.label_config), project.control, project.form)
        assert asked is not None  # noqa: S101  (`project` found it there)
        known = Project(ProjectKey("", ""), project.project_id, project.title, project.url, project.label_config_sha256)
        seen: set[TaskId] = set()
        for row in TaskLists(self._client, OVERLAP, PAGE).whole(known):
            task = self._task(row, asked)
            if task.task_id not in seen and task.answers:
                seen.add(task.task_id)
                yield task

    def _task(self, row: JSON, control: ArchivedControl) -> ArchivedTask:
        answers = [one for one in replies.rows_of(row, "annotations") if not replies.field(one, "was_cancelled", bool)]
        predictions = replies.rows_of(row, "predictions") if isinstance(row, Mapping) and row.get("predictions") else ()
        predicted = predictions[0] if predictions else {}
        score = predicted.get("score") if isinstance(predicted, Mapping) else None
        version = predicted.get("model_version") if isinstance(predicted, Mapping) else None
        given = row.get("data") if isinstance(row, Mapping) else None
        data = given if isinstance(given, Mapping) else {}
        return ArchivedTask(
            TaskId(replies.field(row, "id", int)),
            replies.moment(row, "created_at"),
            data,
            tuple(self._answer(one, control, data) for one in answers),
            _predicted(predicted, control.name),
            float(score) if isinstance(score, int | float) else None,
            version if isinstance(version, str) else "",
        )

    def _answer(self, row: JSON, control: ArchivedControl, data: JSONObject) -> ArchivedAnswer:
        chosen, problem = control.said(replies.rows_of(row, "result"), data)
        result = remote.storable(replies.rows_of(row, "result"))
        reviewer = self._name_of(row.get("completed_by") if isinstance(row, Mapping) else None)
        in_bulk = remote.lead_time(row) is None and isinstance(row, Mapping) and row.get("parent_prediction") is not None
        rationale = remote.controls_of(result).get(RATIONALE, ())
        return ArchivedAnswer(
            AnnotationId(replies.field(row, "id", int)),
            replies.moment(row, "created_at"),
            replies.moment(row, "updated_at"),
            reviewer,
            chosen,
            "\n".join(map(str, rationale)),
            result,
            remote.lead_time(row),
            NOBODY if not reviewer else BULK if in_bulk else problem,
        )

    def _name_of(self, user: JSON) -> str:
        if not isinstance(user, int):
            return ""
        if not self._names:
            listed = self._client.get("/api/users/")
            for person in listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ():
                self._names[replies.field(person, "id", int)] = replies.field(person, "email", str)
        return self._names.setdefault(user, f"account {user}")


def _predicted(row: JSON, control: str) -> tuple[JSON, ...] | None:
    """None where no model had a say: there is no prediction, or it is about other controls."""
    if not isinstance(row, Mapping) or not isinstance(row.get("result"), list):
        return None
    controls = remote.controls_of(replies.rows_of(row, "result"))
    return controls.get(control, None if controls else ())
