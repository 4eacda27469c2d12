"""The bridge's memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from hitl_bridge.core.dataset.record import Context
from hitl_bridge.core.model import (
    Annotation,
    BatchId,
    DatasetVersion,
    Decision,
    Item,
    ItemId,
    ItemState,
    Project,
    ProjectId,
    ProjectKey,
    PushKey,
    ReviewTask,
    TaskId,
    TaskState,
)
from hitl_bridge.core.sweep import KnownTask
from hitl_bridge.core.sync import RemoteTask, RemoteTaskState
from hitl_bridge.ports.audit import AuditHead, AuditReport, Event
from hitl_bridge.ports.labeling import Refusal
from hitl_bridge.ports.triage import ReceiptFile
from hitl_bridge.ports.waits import Waits


@dataclass(frozen=True, slots=True)
class Batch:
    """Predictions that came in together. Of its `read` rows, `tiers` and `audits` count those that were `accepted`."""

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
    annotation of its present round (its author's own latest), and the decision that stands, if any. `deleted` are answers of
    earlier rounds whose annotations were deleted since, as they last were."""

    item: Item
    tasks: tuple[ReviewTask, ...]
    annotations: tuple[Annotation, ...]
    earlier: tuple[Annotation, ...] = ()
    deleted: tuple[Annotation, ...] = ()
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
    """The decision that holds for an item and is in no dataset version yet, and how it came about; `committed` is the one that
    a version holds, and `committed_item` the item's revision that it was about."""

    decision: Decision
    item: Item
    committed: Decision | None
    answered_at: str | None = None
    context: Context = field(default_factory=Context)
    committed_item: Item | None = None


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


class StateStore(Attempts, Waits, Protocol):
    """The bridge's memory. Each method is one transaction; uniqueness is kept by the database's constraints."""

    def close(self) -> None: ...

    # ingest
    def batch(self, batch_id: BatchId) -> Batch | None: ...
    def receipt_files(self) -> list[ReceiptFile]:
        """Of all committed batches, oldest first."""

    def record_batch(
        self,
        batch: Batch,
        receipts: ReceiptFile | None,
        items: Sequence[Item],
        touches: Callable[[Sequence[str]], bool] | None = None,
    ) -> bool:
        """The batch, its receipts and the items that need a person: all or nothing. A second call changes nothing.

        Args:
            touches: whether one of these items, which were answered online and are in no file yet, is in the batch: then
                nothing is written, and the result is False.
        """

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

    def record_sweep(self, project_id: ProjectId, at: datetime, strangers: int = 0) -> None:
        """The project was compared as a whole, and held so many tasks that are not ours (or are doubles that stay)."""

    def strangers(self, project_id: ProjectId) -> int:
        """How many tasks that are not ours the project held when it was last compared as a whole."""

    def tasks_there(self, project: Project) -> int:
        """How many tasks we have made there and do not know to be gone."""

    def begin_epoch(self, project: Project, at: datetime) -> Project:
        """The labeling service was restored from a backup: the project's next epoch, its cursor forgotten, with an event."""

    def what_is_known(self, project: Project) -> Mapping[TaskId, KnownTask]:
        """The project's live tasks by id, with the annotations that stand on them in the present epoch; and doubles of those on
        which annotations stand, whose creation time is empty."""

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

    def adjudications(self) -> list[OpenReview]:
        """Every item that waits for an adjudicator: cost grows with these."""

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
