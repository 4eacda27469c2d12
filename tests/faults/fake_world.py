"""What a Label Studio holds, in memory: projects, tasks, annotations, webhooks, accounts. Rows have Label Studio's own shape.

Ids of tasks and annotations are numbered through; `restored` goes back to an earlier state and so gives the same numbers to
other things again, as a database restored from yesterday does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4
from xml.etree import ElementTree

from tests.faults.task_filters import Row

BRIDGE = 1
"""The id of the bridge's own account."""

_PROJECT_FIELDS: Row = {
    "title": "",
    "description": "",
    "label_config": "<View/>",
    "expert_instruction": "",
    "show_instruction": False,
    "sampling": "Sequential sampling",
    "maximum_annotations": 1,
    "show_collab_predictions": True,
    "enable_empty_annotation": True,
    "reveal_preannotations_interactively": False,
    "color": "#FFFFFF",
    "model_version": "",
}


class Missing(Exception):
    """404."""


class Invalid(Exception):
    """400, with the server's own words."""

    def __init__(self, body: Row) -> None:
        self.body = body
        super().__init__(str(body))


class AlreadyThere(Exception):
    """409."""


@dataclass
class Contents:
    """All that a backup would hold."""

    projects: dict[int, Row] = field(default_factory=dict)
    tasks: dict[int, Row] = field(default_factory=dict)
    webhooks: dict[int, Row] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)

    def new_id(self, kind: str) -> int:
        self.ids[kind] = self.ids.get(kind, 0) + 1
        return self.ids[kind]


Fire = Callable[[str, int, Row], None]
"""Told an action, its project and what the webhook's body says of it."""


class World:
    """One Label Studio. Not locked: its server takes care of that.

    Times are the machine's, moved by `skew`, each a microsecond after the one before unless `coarse` cuts them to seconds.
    Tasks whose text is in `refused` make an import a 400, as a prediction that does not fit would.
    """

    def __init__(self, people: Sequence[str], fire: Fire) -> None:
        self.contents = Contents()
        self.people = dict(enumerate(("bridge@example.com", *people), start=BRIDGE))
        self.skew = timedelta(0)
        self.coarse = False
        self.refused: set[str] = set()
        self._fire = fire
        self._last = ""

    # ------------------------------------------------------------------------------------------ time and backup

    def tick(self) -> str:
        at = datetime.now(UTC) + self.skew
        if self.coarse:
            return at.strftime("%Y-%m-%dT%H:%M:%SZ")
        text = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if self._last >= text:
            later = datetime.fromisoformat(self._last) + timedelta(microseconds=1)
            text = later.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._last = text
        return text.replace(".000000Z", "Z")

    def backup(self) -> Contents:
        return copy.deepcopy(self.contents)

    def restored(self, backup: Contents) -> None:
        self.contents = copy.deepcopy(backup)

    # ------------------------------------------------------------------------------------------------- projects

    def project(self, project_id: int) -> Row:
        if project_id not in self.contents.projects:
            raise Missing(f"project {project_id}")
        row = self.contents.projects[project_id]
        tasks = self.tasks_of(project_id)
        given = sum(task["total_annotations"] for task in tasks)
        return row | {"task_number": len(tasks), "total_annotations_number": given}

    def create_project(self, fields: Row) -> Row:
        self._check_config(str(fields.get("label_config", "<View/>")))
        project_id = self.contents.new_id("project")
        known = {name: value for name, value in fields.items() if name in _PROJECT_FIELDS}
        self.contents.projects[project_id] = _PROJECT_FIELDS | known | {"id": project_id, "created_at": self.tick()}
        return self.project(project_id)

    def change_project(self, project_id: int, fields: Row) -> Row:
        row = self.project(project_id)
        self._check_config(str(fields.get("label_config", row["label_config"])))
        version = fields.get("model_version")
        if version and version not in self._model_versions(project_id):
            raise Invalid({"validation_errors": {"model_version": ["There is no prediction of this version."]}})
        self.contents.projects[project_id] |= {name: value for name, value in fields.items() if name in _PROJECT_FIELDS}
        self._fire("PROJECT_UPDATED", project_id, {})
        return self.project(project_id)

    def delete_project(self, project_id: int) -> None:
        self.project(project_id)
        for task in self.tasks_of(project_id):
            del self.contents.tasks[task["id"]]
        self.contents.webhooks = {key: hook for key, hook in self.contents.webhooks.items() if hook["project"] != project_id}
        del self.contents.projects[project_id]

    def _model_versions(self, project_id: int) -> set[str]:
        return {each["model_version"] for task in self.tasks_of(project_id) for each in task["predictions"]}

    def _check_config(self, xml: str) -> None:
        try:
            ElementTree.fromstring(xml)  # noqa: S314
        except ElementTree.ParseError:
            raise Invalid({"validation_errors": {"label_config": ["It is no XML."]}}) from None

    # ---------------------------------------------------------------------------------------------------- tasks

    def task(self, task_id: int) -> Row:
        if task_id not in self.contents.tasks:
            raise Missing(f"task {task_id}")
        return self.contents.tasks[task_id]

    def tasks_of(self, project_id: int) -> list[Row]:
        return [task for task in self.contents.tasks.values() if task["project"] == project_id]

    def import_tasks(self, project_id: int, sent: Sequence[Row]) -> Row:
        """One transaction: all of them, or a 400 and none."""
        page = _Page.read(self.project(project_id)["label_config"])
        wrong = [text for number, task in enumerate(sent) for text in self._problems(number, task, page)]
        if wrong:
            raise Invalid({"predictions": wrong})
        ids = [self._store(project_id, task) for task in sent]
        versions = [each.get("model_version", "") for task in sent for each in task.get("predictions", [])]
        project = self.contents.projects[project_id]
        project["model_version"] = project["model_version"] or next(iter(versions), "")
        self._fire("TASKS_CREATED", project_id, {"tasks": [{"id": each} for each in ids]})
        return {"task_count": len(ids), "annotation_count": 0, "prediction_count": len(versions), "task_ids": ids}

    def _problems(self, number: int, task: Row, page: _Page) -> list[str]:
        data = task.get("data")
        if not isinstance(data, dict):
            return [f"Task {number}: no data"]
        if data.get("text") in self.refused:
            return [f"Task {number}: this server does not take it :: {data}"]
        missing = sorted(page.variables - data.keys())
        regions = [region for each in task.get("predictions", []) for region in each["result"]]
        unfit = [region["from_name"] for region in regions if not page.takes(region)]
        return [f"Task {number}: {name} is missing" for name in missing] + [f"Task {number}: {name}" for name in unfit]

    def _store(self, project_id: int, sent: Row) -> int:
        task_id, at = self.contents.new_id("task"), self.tick()
        predictions = [{**each, "id": self.contents.new_id("prediction"), "task": task_id} for each in sent["predictions"]]
        self.contents.tasks[task_id] = {
            "id": task_id,
            "project": project_id,
            "data": sent["data"],
            "meta": sent.get("meta", {}),
            "created_at": at,
            "updated_at": at,
            "updated_by": [],
            "annotations": [],
            "predictions": predictions,
            "total_predictions": len(predictions),
            "total_annotations": 0,
            "cancelled_annotations": 0,
            "is_labeled": False,
            "drafts": [],
        }
        return task_id

    def delete_task(self, task_id: int) -> None:
        project_id = self.task(task_id)["project"]
        del self.contents.tasks[task_id]
        self._fire("TASKS_DELETED", project_id, {"tasks": [{"id": task_id}]})

    # -------------------------------------------------------------------------------------------------- annotations

    def annotation(self, annotation_id: int) -> tuple[Row, Row]:
        """The task, and the annotation on it."""
        for task in self.contents.tasks.values():
            for one in task["annotations"]:
                if one["id"] == annotation_id:
                    return task, one
        raise Missing(f"annotation {annotation_id}")

    def annotate(self, task_id: int, user: int, body: Row) -> Row:
        task, at = self.task(task_id), self.tick()
        unique = body.get("unique_id")
        if unique and any(one["unique_id"] == unique for each in self.contents.tasks.values() for one in each["annotations"]):
            raise AlreadyThere("unique_id")
        made = {
            "id": self.contents.new_id("annotation"),
            "task": task_id,
            "project": task["project"],
            "unique_id": unique or str(uuid4()),
            "created_at": at,
            "updated_at": at,
            "completed_by": body.get("completed_by", user),
            "updated_by": user,
            "was_cancelled": bool(body.get("was_cancelled", False)),
            "result": body.get("result", []),
            "lead_time": body.get("lead_time"),
            "parent_prediction": body.get("parent_prediction"),
            "ground_truth": bool(body.get("ground_truth", False)),
        }
        task["annotations"].append(made)
        self._touched(task, user)
        self._fire("ANNOTATION_CREATED", task["project"], {"annotation": made, "task": {"id": task_id}})
        return made

    def revise(self, annotation_id: int, user: int, body: Row) -> Row:
        task, one = self.annotation(annotation_id)
        writable = ("result", "was_cancelled", "lead_time", "ground_truth", "completed_by")
        one |= {name: body[name] for name in writable if name in body}
        one |= {"updated_at": self.tick(), "updated_by": user}
        self._touched(task, user)
        self._fire("ANNOTATION_UPDATED", task["project"], {"annotation": one, "task": {"id": task["id"]}})
        return one

    def delete_annotation(self, annotation_id: int, user: int) -> None:
        task, one = self.annotation(annotation_id)
        task["annotations"].remove(one)
        self._touched(task, user)
        self._fire("ANNOTATIONS_DELETED", task["project"], {"annotations": [{"id": annotation_id}]})

    def annotate_in_bulk(self, tasks: Sequence[Row], user: int) -> None:
        """The button: every prediction becomes an annotation, all with one and the same time."""
        at = self.tick()
        for task in tasks:
            for prediction in task["predictions"][:1]:
                body = {"result": prediction["result"], "parent_prediction": prediction["id"]}
                self.annotate(task["id"], user, body)
                task["annotations"][-1] |= {"created_at": at, "updated_at": at, "updated_by": None}
                task["updated_at"] = at

    def draft(self, task_id: int, user: int, body: Row) -> Row:
        """Somebody has begun: kept for that person alone, and neither the task's time nor a webhook tells of it."""
        at = self.tick()
        begun = {
            "id": self.contents.new_id("draft"),
            "task": task_id,
            "user": self.people[user],
            "created_at": at,
            "updated_at": at,
        }
        self.task(task_id)["drafts"].append(begun | {"result": body.get("result", []), "lead_time": body.get("lead_time")})
        return begun

    def _touched(self, task: Row, user: int) -> None:
        """As the real server does: the task's time is a little later than its annotation's, and it counts anew."""
        skipped = sum(one["was_cancelled"] for one in task["annotations"])
        given = len(task["annotations"]) - skipped
        overlap = self.contents.projects[task["project"]]["maximum_annotations"]
        answered = {one["completed_by"] for one in task["annotations"] if not one["was_cancelled"]}
        task |= {"updated_at": self.tick(), "updated_by": [{"user_id": user}], "is_labeled": len(answered) >= overlap}
        task |= {"total_annotations": given, "cancelled_annotations": skipped}

    # -------------------------------------------------------------------------------------------------- webhooks

    def webhook(self, webhook_id: int) -> Row:
        if webhook_id not in self.contents.webhooks:
            raise Missing(f"webhook {webhook_id}")
        return self.contents.webhooks[webhook_id]

    def create_webhook(self, body: Row) -> Row:
        self.project(int(body.get("project") or 0))  # there are no hooks for the whole organisation
        webhook_id = self.contents.new_id("webhook")
        usual = {"send_payload": True, "send_for_all_actions": True, "headers": {}, "is_active": True, "actions": []}
        made = usual | body | {"id": webhook_id, "created_at": self.tick()}
        self.contents.webhooks[webhook_id] = made
        return made


@dataclass(frozen=True, slots=True)
class _Page:
    """What a label config takes and shows: enough to refuse what the real server refuses."""

    choices: dict[str, set[str]]
    controls: set[str]
    variables: set[str]

    @staticmethod
    def read(xml: str) -> _Page:
        root = ElementTree.fromstring(xml)  # noqa: S314
        controls = [element for element in root.iter() if element.get("toName")]
        fixed = [one for one in controls if one.tag == "Choices" and not (one.get("value") or "").startswith("$")]
        shown = [one.get("value", "") for one in root.iter() if one.get("name") and (one.get("value") or "").startswith("$")]
        return _Page(
            choices={one.get("name", ""): {choice.get("value", "") for choice in one.iter("Choice")} for one in fixed},
            controls={one.get("name", "") for one in controls},
            variables={variable.removeprefix("$") for variable in shown},
        )

    def takes(self, region: Row) -> bool:
        name = region.get("from_name")
        chosen = set(region.get("value", {}).get("choices", []))
        return name in self.controls and chosen <= self.choices.get(name, chosen)
