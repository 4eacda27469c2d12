"""Where reviewers work: their tasks and answers, and the calls that it makes when something changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hitl_bridge.core.model import Project, ProjectId, ProjectKey, PushKey, TaskId
from hitl_bridge.core.page import TaskContent
from hitl_bridge.core.sweep import ManifestTask
from hitl_bridge.core.sync import RemoteTask, RemoteTaskState


@dataclass(frozen=True, slots=True)
class Refusal:
    """A task that the labeling service will not take, and why."""

    push_key: PushKey
    reason: str


@dataclass(frozen=True, slots=True)
class PushOutcome:
    """What became of a batch: created, refused, or unclear (to be looked up before anything is sent again)."""

    created: tuple[RemoteTask, ...] = ()
    refused: tuple[Refusal, ...] = ()
    unknown: tuple[PushKey, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ProjectPlan:
    """What a review project should look like. `allow_empty`: whether an empty page can be submitted, as it says something."""

    key: ProjectKey
    title: str
    label_config: str
    instructions: str
    overlap: int
    allow_empty: bool = False


@dataclass(frozen=True, slots=True)
class ProjectLook:
    """A project at a glance: how many tasks it holds, whoever put them there, and the digest of its label config."""

    tasks: int
    label_config_sha256: str


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    url: str
    version: str
    user: str
    warnings: tuple[str, ...] = ()


class LabelingService(Protocol):
    """Where reviewers work. Raises LabelingUnavailable (try again), AccessRefused and RemoteGone (a person decides)."""

    def ping(self) -> ServiceStatus: ...

    def keep_project(self, plan: ProjectPlan, known: Project | None, *, restore_config: bool = False) -> Project:
        """Brings the project of `plan.key` to what it should be. `known` is the one that the store holds, and no other will
        do: if it is not there any more, RemoteGone. Only without one is it looked for by its mark, and else created. A label
        config that is neither the one known nor the one wanted was changed by somebody: ProjectChanged, unless it is to be
        restored."""

    def create_tasks(self, project: Project, tasks: Sequence[TaskContent]) -> PushOutcome:
        """Creates tasks; never sends a task twice by itself. Their creation times are not asked for."""

    def find_tasks(self, project: Project, keys: Sequence[PushKey]) -> list[RemoteTask]:
        """Every task with one of `keys`, with its creation time: more than one a key where it was sent twice."""

    def delete_untouched(self, project: Project, task: RemoteTask) -> bool:
        """Deletes a task that nobody has answered or begun to answer; False, and it stays, if somebody has."""

    def look(self, project: Project) -> ProjectLook:
        """The project at a glance, in one request. Raises RemoteGone if it is not there, or is somebody else's."""

    def changed_since(self, project: Project, cursor: str | None) -> Iterator[RemoteTaskState]:
        """Tasks changed at or after `cursor` (the service's own time) less `core.sync.OVERLAP`, oldest change first; all tasks
        with answers if None."""

    def states_of(self, project: Project, ids: Sequence[TaskId]) -> list[RemoteTaskState]:
        """Of these tasks those that are there and ours, whole."""

    def manifest(self, project: Project) -> Iterator[ManifestTask]:
        """Every task of the project, whoever put it there, by id: small, and unmoved by what changes meanwhile."""

    def task_url(self, project: Project, task_id: TaskId) -> str: ...

    @property
    def requests_made(self) -> int:
        """How many requests this object has sent so far."""


@dataclass(frozen=True, slots=True)
class RemoteWebhook:
    """A call that the labeling service makes when a project changes. `as_due`: it is switched on, for the changes that the
    bridge wants to hear of, without their contents. `headers` holds a secret."""

    webhook_id: int
    project_id: ProjectId
    url: str
    headers: Mapping[str, str] = field(repr=False)
    as_due: bool


class Webhooks(Protocol):
    """The calls that the labeling service makes. Raises like LabelingService, and WebhookRefused for the address."""

    def listed(self) -> list[RemoteWebhook]:
        """Of all projects that the service account sees, whoever made them."""

    def create(self, wanted: RemoteWebhook) -> None: ...
    def mend(self, wanted: RemoteWebhook) -> None:
        """Makes the webhook of that id what it is to be."""

    def remove(self, webhook_id: int) -> None: ...
