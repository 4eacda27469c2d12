"""What the services need from the world. Small protocols, named for their role; adapters are named for the product."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hitl_bridge.core.model import (
    JSON,
    Annotation,
    Answer,
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
from hitl_bridge.core.sweep import KnownTask as KnownTask
from hitl_bridge.core.sweep import ManifestTask as ManifestTask
from hitl_bridge.core.sync import RemoteAnnotation as RemoteAnnotation
from hitl_bridge.core.sync import RemoteTask as RemoteTask
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


# ------------------------------------------------------------------------------------------------ store


@dataclass(frozen=True, slots=True)
class AccessToken:
    """Who may ask the daemon: a `name` and the SHA-256 (hex) of a token that is kept nowhere."""

    name: str
    sha256: str = field(repr=False)
    created_at: datetime
    revoked_at: datetime | None


class AccessTokens(Protocol):
    """What is known of tokens. `by` is the person who did it, for the audit log."""

    def add(self, name: str, sha256: str, at: datetime, by: str) -> bool:
        """False if the name was used before."""

    def all(self) -> Sequence[AccessToken]:
        """Oldest first, revoked ones too."""

    def revoke(self, name: str, at: datetime, by: str) -> bool:
        """False if no such token is in force."""


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
    """One thing that happened, for `trace` and the audit log: when, what, to which item, by whom (a reviewer by pseudonym,
    a person who decided something by the name they gave). `before` and `after` are digests of the record that it changed."""

    at: datetime
    action: str
    item_id: ItemId | None = None
    detail: Mapping[str, JSON] = field(default_factory=dict)
    actor: str = "bridge"
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The newest row of the audit log: its number (0: none yet) and its hash, which stands for all before it."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class AuditProblem:
    """Something that does not fit in the audit log. `seq` is the row, 0 where it is a record that the log tells of."""

    seq: int
    what: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What verifying found: the log's head, how many anchors and records it was held against, and all that does not fit."""

    head: AuditHead
    anchors: int
    records: int
    problems: tuple[AuditProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write in `scope`, until somebody takes it over: whose `token` is not the newest is refused."""

    scope: str
    token: int
    holder: str


@dataclass(frozen=True, slots=True)
class LeaseSeen:
    """How a lease stands: whose it is, and a number that moves while the holder lives. No `holder`: it is free."""

    token: int
    holder: str
    beat: int


class Leases(Protocol):
    """Who may write in a scope. No clock is shared: whoever waits judges by its own watch whether `beat` still moves."""

    def look(self, scope: str) -> LeaseSeen: ...
    def take(self, scope: str, holder: str, seen: LeaseSeen) -> Lease | None:
        """Takes the lease with the next token, if it still stands as it was seen; None if somebody was faster."""

    def beat(self, lease: Lease) -> bool:
        """Shows that the holder lives; False if the lease is not its own any more."""

    def give_back(self, lease: Lease) -> None:
        """Frees the lease, unless it is somebody else's by now."""


def item_subject(item_id: ItemId, revision: int) -> str:
    """An item's revision, as `Attempts` names it."""
    return f"{item_id}#{revision}"


class Attempts(Protocol):
    """Tries that are counted before they are made, so that what a process dies of is known to the next one."""

    def deaths(self, step: str) -> Mapping[str, int]:
        """The subjects of tries that were begun and never ended, and how many in a row."""

    def begin_try(self, step: str, subjects: Sequence[str], at: datetime) -> None:
        """Counts a try of each subject; committed when this returns."""

    def end_try(self, step: str, subjects: Sequence[str]) -> None:
        """The tries have ended, well or not: nothing is held against the subjects any more."""


class StateStore(Attempts, Protocol):
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

    def tasks_in(self, *states: TaskState, project: ProjectKey | None = None) -> list[ReviewTask]:
        """Tasks in one of these states, of one project or of all."""

    def task_counts(self, *states: TaskState) -> Mapping[ProjectKey, int]:
        """Tasks in one of these states by project; live ones if none is named."""

    def mark_unknown(self, keys: Sequence[PushKey], at: datetime) -> None:
        """Before a batch is sent: from now on its outcome is unclear until confirmed. `at` becomes the tasks' `sent_at`."""

    def confirm(self, project_id: ProjectId, tasks: Sequence[RemoteTask], at: datetime) -> None:
        """The tasks are there: LIVE, and their items PUSHED. Ends the tries of the step `push` for them, as `refuse` does."""

    def refuse(self, refusals: Sequence[Refusal], at: datetime) -> None:
        """The tasks were refused: REJECTED, and their items QUARANTINED with the reason."""

    def learn(self, project_id: ProjectId, tasks: Sequence[RemoteTask]) -> None:
        """When tasks that we know were created, where that was not known yet."""

    def move_task(self, project_id: ProjectId, task: RemoteTask, at: datetime) -> None:
        """The live task of that key is this one now: it was sent twice, or moved. With an event."""

    def close_gone(self, keys: Sequence[PushKey], reason: str, at: datetime) -> int:
        """The tasks are not in the labeling service any more: CLOSED with the reason, and undecided items that waited for
        them are QUEUED for their next round, with an event. An item whose answers wait to be settled is left as it is until
        they are. Returns how many tasks were closed."""

    def give_up(self, keys: Sequence[PushKey], reason: str, at: datetime) -> None:
        """Promised tasks that nobody survives making: REJECTED, and their items FAILED with the reason."""

    def remembered(self, name: str) -> str | None:
        """A note that this store keeps about itself (`RestoredStore.accept_restored`)."""

    def forget_cursor(self, project_id: ProjectId) -> None:
        """The project is read again from the start."""

    # pull
    def cursor(self, project_id: ProjectId) -> str | None: ...
    def swept_at(self, project_id: ProjectId) -> datetime | None:
        """When the project was last compared as a whole."""

    def record_sweep(self, project_id: ProjectId, at: datetime) -> None: ...
    def begin_epoch(self, project: Project, at: datetime) -> Project:
        """The labeling service was restored from a backup: the project's next epoch, its cursor forgotten, with an event."""

    def what_is_known(self, project: Project) -> Mapping[TaskId, KnownTask]:
        """The project's live tasks by id, with the annotations that stand on them in the present epoch."""

    def newest_annotations(self, project: Project, most: int) -> list[Annotation]:
        """The latest revisions of the `most` annotations with the highest ids of the present epoch that stand on live tasks."""

    def standing_before(self, project: Project) -> list[Annotation]:
        """Annotations of earlier epochs that stand and were not seen in the present one."""

    def unreadable_tasks(self, project_id: ProjectId) -> Mapping[TaskId, str]:
        """Tasks that the labeling service itself could not show, and why."""

    def record_unreadable(self, project_id: ProjectId, tasks: Sequence[RemoteTaskState], at: datetime) -> None:
        """Which of these tasks can't be shown and which can again, with an event for each that is new."""

    def tasks_by_key(self, keys: Sequence[PushKey]) -> Mapping[PushKey, ReviewTask]: ...
    def annotations_of(self, keys: Sequence[PushKey]) -> list[Annotation]:
        """The latest revision of each annotation on these tasks in each epoch, tombstones included."""

    def standing_annotations(self, keys: Sequence[PushKey]) -> list[Annotation]:
        """The revision of each annotation on these tasks that is in force: the author's own latest, whatever somebody else
        made of it since; none for those deleted."""

    def record_pull(self, project_id: ProjectId, revisions: Sequence[Annotation], cursor: str | None, at: datetime) -> int:
        """New revisions and the cursor that covers them, in one transaction; marks their items for `open_reviews`, moves
        PUSHED items with an answer to ANSWERED. Revisions already there are skipped; returns how many were new."""

    # resolve
    def open_reviews(self) -> list[OpenReview]:
        """Only items marked by `record_pull` (or by time) since they were last settled: cost grows with what is new."""

    def record_settlements(self, settlements: Sequence[Settlement], at: datetime) -> None:
        """All or nothing; ends the tries of the step `resolve` for these items."""

    # commit
    def uncommitted(self) -> list[UncommittedDecision]: ...
    def dataset_versions(self) -> list[DatasetVersion]:
        """Oldest first."""

    def record_version(self, version: DatasetVersion, decisions: Sequence[Decision]) -> None: ...

    # the audit log
    def record_events(self, events: Sequence[Event]) -> None: ...
    def audit_head(self) -> AuditHead: ...
    def verify_audit(self, anchors: Mapping[str, AuditHead]) -> AuditReport:
        """Computes the whole log anew; `anchors` are heads that were published, by where."""


# ------------------------------------------------------------------------------------ what a person settles


@dataclass(frozen=True, slots=True)
class QuarantinedRevision:
    """A revision of an annotation that can't be believed, and on which nobody has ruled. `number` names it here; `item_id`
    and `project` are None where the bridge has forgotten them."""

    number: int
    annotation: Annotation
    item_id: ItemId | None
    project: Project | None


@dataclass(frozen=True, slots=True)
class UnreadableTask:
    """A task that the labeling service itself can't show; read again by every pull."""

    project_id: ProjectId
    task_id: TaskId
    reason: str
    since: datetime
    item_id: ItemId | None
    project: Project | None


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a person said of a quarantined revision: it counts, and what it says (`answer`), or (None) it never will."""

    number: int
    answer: Answer | None
    by: str
    reason: str
    at: datetime


class Quarantine(Protocol):
    """Annotations that can't be believed, until a person rules. Nothing of them is ever deleted."""

    def quarantined(self) -> list[QuarantinedRevision]:
        """Oldest first: the newest revision of each annotation, if that is quarantined and nobody has ruled on it."""

    def unreadable(self) -> list[UnreadableTask]: ...
    def rule(self, ruling: Ruling) -> None:
        """Writes the ruling and its event, and marks the item for `open_reviews`. Raises UnknownName for a number that is not
        among the quarantined (any more)."""


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An item that was set aside: `quarantined` (the labeling service refused its task) or `failed` (the process died of it)."""

    item: Item
    reason: str
    project: Project | None
    push_key: PushKey | None


class Failures(Protocol):
    """Items that were set aside, until a person asks for another try."""

    def failed_items(self) -> list[FailedItem]: ...
    def requeue(self, items: Sequence[Item], by: str, reason: str, at: datetime) -> None:
        """Queues these items for their next round (so that their tasks get new keys), with an event each."""


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """What a store held at one moment: its schema, the head of its audit log, and the rows of each table."""

    schema: str
    head: AuditHead
    rows: Mapping[str, int]


class Backups(Protocol):
    """Copies of the store, made while it is in use."""

    def suffix(self) -> str:
        """The end of a backup's name: `.db`, `.dump`."""

    def copy(self, target: Path) -> StoreCounts:
        """Writes one moment of the store to the new file `target`, durable when this returns; returns what the store held at
        that moment. Raises OutsideUnavailable or UsageError where it can't be done."""

    def look_into(self, copy: Path) -> StoreCounts:
        """Reads a copy through and through, changing nothing. Raises RefusedForSafety if it is damaged."""


class RestoredStore(Protocol):
    """What a store is asked when it may have been restored from a backup."""

    def knows(self, head: AuditHead) -> bool:
        """Whether the audit log has this row with this hash."""

    def remembered(self, name: str) -> str | None: ...
    def accept_restored(self, notes: Mapping[str, str], event: Event) -> None:
        """Forgets all cursors (everything is read again from the start), keeps `notes` and writes the event, at once."""


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

    def publish(
        self, tag: str, files: Sequence[NewFile], message: str, batch_id: str, trailers: Mapping[str, str] | None = None
    ) -> Published:
        """Tracks `files` with DVC, commits just them on the configured branch, tags. Repeating it after a crash is safe:
        a commit with the trailer `Bridge-Batch: batch_id` is found and used. `trailers` stand in the commit's message."""

    def anchors(self) -> list[tuple[str, int, str]]:
        """The audit heads that versions were committed with, as far as they are known here: tag, number, hash."""

    def read(self, tag: str, paths: Collection[str] | None = None) -> Mapping[str, bytes]:
        """The data files of a version by path; of `paths` alone, if given."""


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
