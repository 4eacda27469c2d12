"""Review projects that the bridge did not make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from hitl_bridge.core.model import JSON, AnnotationId, JSONObject, ProjectId, TaskId
from hitl_bridge.core.task_types.controls import Form


@dataclass(frozen=True, slots=True)
class ArchivedAnswer:
    """What somebody answered: `chosen` values of the control that was asked for. `problem` says why it is nobody's review."""

    annotation_id: AnnotationId
    created_at: str
    updated_at: str
    reviewer: str
    chosen: Sequence[JSON]
    rationale: str
    result: Sequence[JSON]
    lead_time: float | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ArchivedTask:
    """A task with its answers, skips left out. `predicted` is what a model had filled in for the control, with its score;
    None where none had."""

    task_id: TaskId
    created_at: str
    data: JSONObject
    answers: tuple[ArchivedAnswer, ...]
    predicted: Sequence[JSON] | None = None
    score: float | None = None
    model_version: str = ""


@dataclass(frozen=True, slots=True)
class ArchivedProject:
    """A project, and the control of its page that is asked for. `shows` is the field of `task.data` that the control is about."""

    project_id: ProjectId
    title: str
    url: str
    label_config: str
    label_config_sha256: str
    control: str
    form: Form
    shows: str


class Archive(Protocol):
    """Projects that somebody else has made. Raises like LabelingService."""

    def project(self, project_id: ProjectId, control: str, form: Form) -> ArchivedProject:
        """Raises UsageError where the project has no such control, or one of another form."""

    def tasks(self, project: ArchivedProject) -> Iterator[ArchivedTask]:
        """Every task that somebody has answered."""
