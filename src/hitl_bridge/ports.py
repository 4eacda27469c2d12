"""What the services need from the world. Small protocols, named for their role; adapters are named for the product."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hitl_bridge.core.model import (
    JSON,
    Annotation,
    BatchId,
    DatasetVersion,
    Decision,
    Item,
    ItemId,
    ItemState,
    JSONObject,
    Problem,
    Project,
    ProjectId,
    ProjectKey,
    PushKey,
    ReviewTask,
    TaskId,
    TaskState,
)
from hitl_bridge.core.page import TaskContent as TaskContent
from hitl_bridge.core.sync import RemoteAnnotation as RemoteAnnotation
from hitl_bridge.core.sync import RemoteTaskState as RemoteTaskState
from hitl_bridge.core.triage.plan import TriagePlan

if TYPE_CHECKING:
    import pyarrow as pa


class Clock(Protocol):
    def now(self) -> datetime:
        """Now, aware, in UTC."""

    def sleep(self, seconds: float) -> None: ...


# --------------------------------------------------------------------------------------------- triage


@dataclass(frozen=True, slots=True)
class ReceiptFile:
    """A Parquet file of receipts. It counts once its path and digest are committed in the store with its batch."""

    path: str
    sha256: str
    rows: int


class TriageEngine(Protocol):
    """Carries out the plan that `core.triage` makes over a batch of checked predictions, columnar and in bounded memory."""

    def triage(self, predictions: pa.Table, plan: TriagePlan, key: bytes) -> pa.Table:
        """Predictions in (columns: `core.triage.columns.PREDICTIONS`), receipts out (`core.triage.columns.RECEIPTS`)."""


class RuleChecker(Protocol):
    """Says beforehand whether an expression of a rule can be evaluated."""

    def problem(self, expression: str, attributes: Mapping[str, str]) -> str | None:
        """What is wrong with `expression`, given the attributes and their types; None if nothing."""


class Receipts(Protocol):
    """The receipts of all triaged predictions, immutable columnar files."""

    def write(self, batch_id: BatchId, receipts: pa.Table) -> ReceiptFile:
        """Writes one file, durable when this returns; writing the same batch again gives the same file."""

    def known(self, files: Sequence[ReceiptFile], predictions: pa.Table) -> pa.Table:
        """Of `predictions`, those with a receipt of the same item: item_id, revision, model_version and both digests."""

    def of_item(self, files: Sequence[ReceiptFile], item_id: ItemId) -> list[Mapping[str, JSON]]:
        """Every receipt of one item, oldest first."""


@dataclass(frozen=True, slots=True)
class PredictionChunk:
    """Some rows of an input file: the good ones as a table (`core.triage.columns.PREDICTIONS`), the bad ones as problems."""

    predictions: pa.Table
    problems: tuple[Problem, ...]
    read: int


# ------------------------------------------------------------------------------------- labeling service


@dataclass(frozen=True, slots=True)
class RemoteTask:
    push_key: PushKey
    task_id: TaskId
    created_at: str


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
    """What a review project should look like."""

    key: ProjectKey
    title: str
    label_config: str
    instructions: str
    overlap: int


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    url: str
    version: str
    user: str
    warnings: tuple[str, ...] = ()


class LabelingService(Protocol):
    """Where reviewers work. Raises LabelingUnavailable (try again), AccessRefused and RemoteGone (a person decides)."""

    def ping(self) -> ServiceStatus: ...

    def keep_project(self, plan: ProjectPlan, known: Project | None) -> Project:
        """Brings the project of `plan.key` to what it should be. `known` is the one that the store holds, and no other will
        do: if it is not there any more, RemoteGone. Only without one is it looked for by its mark, and else created."""

    def create_tasks(self, project: Project, tasks: Sequence[TaskContent]) -> PushOutcome:
        """Creates tasks; never sends a task twice by itself."""

    def find_tasks(self, project: Project, keys: Sequence[PushKey]) -> list[RemoteTask]:
        """Which of `keys` are there."""

    def task_count(self, project: Project) -> int:
        """How many tasks the project holds, whoever put them there."""

    def changed_since(self, project: Project, cursor: str | None) -> Iterator[RemoteTaskState]:
        """Tasks changed at or after `cursor` (the service's own time), oldest change first; all tasks with answers if None."""

    def task_url(self, project: Project, task_id: TaskId) -> str: ...

    @property
    def requests_made(self) -> int:
        """How many requests this object has sent so far."""


# ------------------------------------------------------------------------------------------------ store


@dataclass(frozen=True, slots=True)
class Batch:
    batch_id: BatchId
    source: str
    content_sha256: str
    read: int
    accepted: int
    duplicates: int
    problems: int
    tiers: Mapping[str, int]
    audits: int
    received_at: datetime


@dataclass(frozen=True, slots=True)
class OpenReview:
    """An item whose answers may have changed since it was last settled, with the revision that is in force of each
    annotation of its present round (its author's own latest), and the decision that stands, if any."""

    item: Item
    tasks: tuple[ReviewTask, ...]
    annotations: tuple[Annotation, ...]
    earlier: tuple[Annotation, ...] = ()
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What resolving an item changes: a new decision, a next round (the item queued anew), or only its state."""

    item_id: ItemId
    revision: int
    state: ItemState
    decision: Decision | None = None
    next_round: Item | None = None
    event: str = ""


@dataclass(frozen=True, slots=True)
class UncommittedDecision:
    """The decision that holds for an item and is in no dataset version yet; `committed` is the one that a version holds."""

    decision: Decision
    item: Item
    committed: Decision | None
    answered_at: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, for `trace` and the log."""

    at: datetime
    action: str
    item_id: ItemId | None = None
    detail: Mapping[str, JSON] = field(default_factory=dict)


class StateStore(Protocol):
    """The bridge's memory. Each method is one transaction; uniqueness is kept by the database's constraints."""

    def close(self) -> None: ...

    # ingest
    def batch(self, batch_id: BatchId) -> Batch | None: ...
    def receipt_files(self) -> list[ReceiptFile]:
        """Of all committed batches, oldest first."""

    def record_batch(self, batch: Batch, receipts: ReceiptFile | None, items: Sequence[Item]) -> None:
        """The batch, its receipts and the items that need a person: all or nothing. A second call changes nothing."""

    # push
    def items_in(self, *states: ItemState) -> list[Item]:
        """Items in one of these states (latest revision only), lowest priority number first."""

    def projects(self) -> list[Project]: ...
    def record_project(self, project: Project) -> None:
        """Inserts, or updates the row of the same key. Raises RefusedForSafety rather than let tasks that were pushed to one
        project be taken for tasks of another."""

    def intend(self, tasks: Sequence[ReviewTask]) -> None:
        """Writes the promise of each task. Tasks already promised (item, revision, round, seat) are left as they are."""

    def tasks_in(self, *states: TaskState) -> list[ReviewTask]: ...
    def task_counts(self) -> Mapping[ProjectKey, int]:
        """Live tasks by project."""

    def mark_unknown(self, keys: Sequence[PushKey], at: datetime) -> None:
        """Before a batch is sent: from now on its outcome is unclear until confirmed. `at` becomes the tasks' `sent_at`."""

    def confirm(self, project_id: ProjectId, tasks: Sequence[RemoteTask], at: datetime) -> None:
        """The tasks are there: LIVE, and their items PUSHED."""

    def refuse(self, refusals: Sequence[Refusal], at: datetime) -> None:
        """The tasks were refused: REJECTED, and their items QUARANTINED with the reason."""

    def close_gone(self, keys: Sequence[PushKey], reason: str, at: datetime) -> int:
        """The tasks are not in the labeling service any more: CLOSED with the reason, and undecided items that waited for
        them are QUEUED for their next round, with an event. An item whose answers wait to be settled is left as it is until
        they are. Returns how many tasks were closed."""

    # pull
    def cursor(self, project_id: ProjectId) -> str | None: ...
    def tasks_by_key(self, keys: Sequence[PushKey]) -> Mapping[PushKey, ReviewTask]: ...
    def annotations_of(self, keys: Sequence[PushKey]) -> list[Annotation]:
        """The latest revision of each annotation on these tasks, tombstones included."""

    def standing_annotations(self, keys: Sequence[PushKey]) -> list[Annotation]:
        """The revision of each annotation on these tasks that is in force: the author's own latest, whatever somebody else
        made of it since; none for those deleted."""

    def record_pull(self, project_id: ProjectId, revisions: Sequence[Annotation], cursor: str | None, at: datetime) -> int:
        """New revisions and the cursor that covers them, in one transaction; marks their items for `open_reviews`, moves
        PUSHED items with an answer to ANSWERED. Revisions already there are skipped; returns how many were new."""

    # resolve
    def open_reviews(self) -> list[OpenReview]:
        """Only items marked by `record_pull` (or by time) since they were last settled: cost grows with what is new."""

    def record_settlements(self, settlements: Sequence[Settlement], at: datetime) -> None: ...

    # commit
    def uncommitted(self) -> list[UncommittedDecision]: ...
    def dataset_versions(self) -> list[DatasetVersion]:
        """Oldest first."""

    def record_version(self, version: DatasetVersion, decisions: Sequence[Decision]) -> None: ...

    # the trace
    def record_events(self, events: Sequence[Event]) -> None: ...


class Insights(Protocol):
    """The one read model for every face: command line, pages, metrics."""

    def item_counts(self) -> Mapping[str, int]:
        """Items by state; auto-approved ones counted from the batches."""

    def tier_counts(self) -> Mapping[str, int]: ...
    def project_counts(self) -> list[Mapping[str, JSON]]:
        """For each project: title, url, pool, tier, tasks, answered, open."""

    def overdue(self, now: datetime) -> list[Mapping[str, JSON]]: ...
    def decision_counts(self) -> Mapping[str, int]:
        """Current decisions by outcome."""

    def audit_counts(self) -> Mapping[str, int]:
        """Decided audits: how many, and how many were overturned."""

    def life_of(self, item_id: ItemId) -> Mapping[str, JSON]:
        """Everything the store knows of an item: revisions, tasks, annotation revisions, decisions, versions, events."""

    def last_event(self, action: str) -> Event | None: ...
    def problems(self) -> list[Mapping[str, JSON]]:
        """Quarantined annotations and items, refused tasks: what a person has to look at."""


# ---------------------------------------------------------------------------------- dataset and pipeline


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file of a dataset version: its path in the workspace and its bytes."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Published:
    tag: str
    git_commit: str


class DatasetStore(Protocol):
    """Where dataset versions live. Raises RepositoryRefused."""

    def check(self) -> None:
        """Raises RepositoryRefused unless a version could be committed now."""

    def published(self, tag: str) -> Published | None: ...
    def versions(self) -> list[str]:
        """The tags that are there, oldest version first."""

    def publish(self, tag: str, files: Sequence[NewFile], message: str, batch_id: str) -> Published:
        """Tracks `files` with DVC, commits just them on the configured branch, tags. Repeating it after a crash is safe:
        a commit with the trailer `Bridge-Batch: batch_id` is found and used."""

    def read(self, tag: str) -> Mapping[str, bytes]:
        """The data files of a version by path."""


class Pipeline(Protocol):
    """The workspace's `dvc repro`."""

    def repro(self, *, force: bool = False) -> bool:
        """Runs what is out of date; returns whether anything ran."""

    def track_base(self) -> Sequence[str]:
        """Keeps labelled base data that is new or changed; returns the paths to save."""

    def save(self, message: str, paths: Sequence[str]) -> str | None:
        """Commits these paths if they changed; returns the commit."""


class Champions(Protocol):
    """The model in use: a pointer in git, its files kept by the dataset store."""

    def install_candidate(self, model_version: str, sign_off: JSONObject) -> str | None:
        """Makes the candidate's files the champion's, writes the pointer with the sign-off and the files' digests, and
        commits; returns the commit."""


@dataclass(frozen=True, slots=True)
class WorkspacePaths:
    """Where things lie in a workspace."""

    root: Path

    @property
    def settings(self) -> Path:
        return self.root / "hitl.yaml"

    @property
    def state(self) -> Path:
        return self.root / ".hitl"

    @property
    def receipts(self) -> Path:
        return self.state / "receipts"

    @property
    def decisions(self) -> Path:
        return self.root / "data" / "decisions"

    @property
    def payloads(self) -> Path:
        return self.root / "data" / "payloads"

    @property
    def champion(self) -> Path:
        return self.root / "models" / "champion.json"

    @property
    def label_configs(self) -> Path:
        return self.root / "label_configs"
