"""The bridge's memory on SQLite or PostgreSQL: one transaction a method; each theme's statements are in its own module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from hitl_bridge.adapters.sql import (
    audit_log,
    statements,
    store_attempts,
    store_backup,
    store_commit,
    store_failures,
    store_gone,
    store_ingest,
    store_pull,
    store_push,
    store_resolve,
    store_sweep,
    store_waits,
)
from hitl_bridge.adapters.sql.audit_log import Seal
from hitl_bridge.adapters.sql.engine import PATIENCE, make_engine, reading
from hitl_bridge.adapters.sql.migrate import bring_up_to_date
from hitl_bridge.adapters.sql.online import waiting_items
from hitl_bridge.adapters.sql.themes import Themes
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
from hitl_bridge.ports import (
    AuditHead,
    AuditReport,
    Batch,
    Event,
    KnownTask,
    OpenReview,
    ReceiptFile,
    RecordedSelection,
    Refusal,
    RemoteTask,
    RemoteTaskState,
    Settlement,
    Spent,
    UncommittedDecision,
    WaitingItem,
)


def open_store(url: str, root: Path, *, key: bytes = b"", patience: float = PATIENCE) -> SqlStore:
    """The store at `url` (sqlite:///… or postgresql+psycopg://…), its schema brought up to date.

    A relative SQLite path starts at `root`. `key` is the workspace's, with which digests in the audit log are made. `patience`
    is how many seconds a write waits for another one to end. Raises UsageError for a URL that is no such database,
    StoreUnavailable if it can't be opened, RefusedForSafety if a newer version of the bridge wrote it.
    """
    engine = make_engine(url, root, patience=patience)
    try:
        bring_up_to_date(engine)
    except BaseException:
        engine.dispose()
        raise
    return SqlStore(engine, Seal(key))


class SqlStore(Themes):
    """Implements `ports.StateStore`."""

    def __init__(self, engine: Engine, seal: Seal) -> None:
        super().__init__(engine, seal)
        self._seen: store_resolve.Marks = {}

    def close(self) -> None:
        self.engine.dispose()

    @property
    def description(self) -> str:
        """Which database this is, without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    # ingest

    def batch(self, batch_id: BatchId) -> Batch | None:
        with reading(self.engine) as connection:
            return store_ingest.batch(connection, batch_id)

    def receipt_files(self) -> list[ReceiptFile]:
        with reading(self.engine) as connection:
            return store_ingest.all_receipt_files(connection)

    def record_batch(
        self,
        batch: Batch,
        receipts: ReceiptFile | None,
        items: Sequence[Item],
        touches: Callable[[Sequence[str]], bool] | None = None,
    ) -> bool:
        with self._writing() as connection:
            if touches is not None and (waiting := waiting_items(connection)) and touches(waiting):
                return False
            store_ingest.record_batch(connection, batch, receipts, items)
        return True

    # push

    def items_in(self, *states: ItemState) -> list[Item]:
        with reading(self.engine) as connection:
            return store_ingest.items_in(connection, states)

    def projects(self) -> list[Project]:
        with reading(self.engine) as connection:
            return store_push.all_projects(connection)

    def record_project(self, project: Project) -> None:
        with self._writing() as connection:
            store_push.record_project(connection, project)

    def intend(self, tasks: Sequence[ReviewTask]) -> None:
        with self._writing() as connection:
            store_push.intend(connection, tasks)

    def tasks_in(self, *states: TaskState, project: ProjectKey | None = None) -> list[ReviewTask]:
        with reading(self.engine) as connection:
            return store_push.tasks_in(connection, states, project)

    def task_counts(self, *states: TaskState) -> Mapping[ProjectKey, int]:
        with reading(self.engine) as connection:
            return store_push.task_counts(connection, states or (TaskState.LIVE,))

    def mark_unknown(self, keys: Sequence[PushKey], at: datetime) -> None:
        with self._writing() as connection:
            store_push.mark_unknown(connection, keys, at)

    def confirm(self, project_id: ProjectId, tasks: Sequence[RemoteTask], at: datetime) -> None:
        with self._writing() as connection:
            store_push.confirm(connection, project_id, tasks, at)

    def refuse(self, refusals: Sequence[Refusal], at: datetime) -> None:
        with self._writing() as connection:
            store_push.refuse(connection, refusals, at)

    def close_gone(self, keys: Sequence[PushKey], reason: str, at: datetime) -> int:
        with self._writing() as connection:
            return store_gone.close_gone(connection, keys, reason, at)

    def learn(self, project_id: ProjectId, tasks: Sequence[RemoteTask]) -> None:
        with self._writing() as connection:
            store_push.learn(connection, project_id, tasks)

    def move_task(self, project_id: ProjectId, task: RemoteTask, at: datetime) -> None:
        with self._writing() as connection:
            store_push.move_task(connection, project_id, task, at)

    # the review budget

    def queued(self) -> list[Item]:
        with reading(self.engine) as connection:
            return store_waits.queued(connection)

    def waiting(self) -> list[WaitingItem]:
        with reading(self.engine) as connection:
            return store_waits.waiting(connection)

    def items_of(self, identities: Sequence[tuple[ItemId, int]]) -> list[Item]:
        with reading(self.engine) as connection:
            return store_waits.items_of(connection, identities)

    def waiting_count(self) -> int:
        with reading(self.engine) as connection:
            return store_waits.waiting_count(connection)

    def spent(self, since: datetime) -> Spent:
        with reading(self.engine) as connection:
            return store_waits.spent(connection, since)

    def record_selection(self, selection: RecordedSelection, at: datetime) -> None:
        with self._writing() as connection:
            store_waits.record_selection(connection, selection, at)

    # pull

    def cursor(self, project_id: ProjectId) -> str | None:
        with reading(self.engine) as connection:
            return store_pull.cursor(connection, project_id)

    def tasks_by_key(self, keys: Sequence[PushKey]) -> Mapping[PushKey, ReviewTask]:
        with reading(self.engine) as connection:
            return store_pull.tasks_by_key(connection, keys)

    def annotations_of(self, keys: Sequence[PushKey]) -> list[Annotation]:
        with reading(self.engine) as connection:
            return store_pull.annotations_of(connection, keys)

    def standing_annotations(self, keys: Sequence[PushKey]) -> list[Annotation]:
        with reading(self.engine) as connection:
            return store_pull.standing_annotations(connection, keys)

    def record_pull(self, project_id: ProjectId, revisions: Sequence[Annotation], cursor: str | None, at: datetime) -> int:
        with self._writing() as connection:
            return store_pull.record_pull(connection, project_id, revisions, cursor, at, self._seal)

    def swept_at(self, project_id: ProjectId) -> datetime | None:
        with reading(self.engine) as connection:
            return store_sweep.swept_at(connection, project_id)

    def record_sweep(self, project_id: ProjectId, at: datetime, strangers: int = 0) -> None:
        with self._writing() as connection:
            store_sweep.record_sweep(connection, project_id, at, strangers)

    def strangers(self, project_id: ProjectId) -> int:
        with reading(self.engine) as connection:
            return store_sweep.strangers(connection, project_id)

    def tasks_there(self, project: Project) -> int:
        with reading(self.engine) as connection:
            return store_sweep.tasks_there(connection, project)

    def begin_epoch(self, project: Project, at: datetime) -> Project:
        with self._writing() as connection:
            return store_sweep.begin_epoch(connection, project, at)

    def what_is_known(self, project: Project) -> Mapping[TaskId, KnownTask]:
        with reading(self.engine) as connection:
            return store_sweep.what_is_known(connection, project)

    def newest_annotations(self, project: Project, most: int) -> list[Annotation]:
        with reading(self.engine) as connection:
            return store_sweep.newest_annotations(connection, project, most)

    def standing_before(self, project: Project) -> list[Annotation]:
        with reading(self.engine) as connection:
            return store_sweep.standing_before(connection, project)

    def unreadable_tasks(self, project_id: ProjectId) -> Mapping[TaskId, str]:
        with reading(self.engine) as connection:
            return store_sweep.unreadable(connection, project_id)

    def record_unreadable(self, project_id: ProjectId, tasks: Sequence[RemoteTaskState], at: datetime) -> None:
        with self._writing() as connection:
            store_sweep.record_unreadable(connection, project_id, tasks, at)

    # resolve

    def open_reviews(self) -> list[OpenReview]:
        with reading(self.engine) as connection:
            reviews, self._seen = store_resolve.open_reviews(connection)
            return reviews

    def adjudications(self) -> list[OpenReview]:
        with reading(self.engine) as connection:
            return store_resolve.adjudications(connection)

    def record_settlements(self, settlements: Sequence[Settlement], at: datetime) -> None:
        """Settles what `open_reviews` of this store last showed: an annotation that came in since keeps its item marked."""
        with self._writing() as connection:
            store_resolve.record_settlements(connection, settlements, at, self._seen, self._seal)

    # a store that was restored

    def remembered(self, name: str) -> str | None:
        with reading(self.engine) as connection:
            return store_backup.remembered(connection, name)

    def forget_cursor(self, project_id: ProjectId) -> None:
        with self._writing() as connection:
            store_backup.forget_cursor(connection, project_id)

    # tries

    def give_up(self, keys: Sequence[PushKey], reason: str, at: datetime) -> None:
        with self._writing() as connection:
            store_failures.give_up(connection, keys, reason, at)

    def deaths(self, step: str) -> Mapping[str, int]:
        with reading(self.engine) as connection:
            return store_attempts.deaths(connection, step)

    def begin_try(self, step: str, subjects: Sequence[str], at: datetime) -> None:
        with self._writing() as connection:
            store_attempts.begin_try(connection, step, subjects, at)

    def end_try(self, step: str, subjects: Sequence[str]) -> None:
        with self._writing() as connection:
            store_attempts.end_try(connection, step, subjects)

    # commit

    def uncommitted(self) -> list[UncommittedDecision]:
        with reading(self.engine) as connection:
            return store_commit.uncommitted(connection)

    def dataset_versions(self) -> list[DatasetVersion]:
        with reading(self.engine) as connection:
            return store_commit.all_versions(connection)

    def record_version(self, version: DatasetVersion, decisions: Sequence[Decision]) -> None:
        with self._writing() as connection:
            store_commit.record_version(connection, version, decisions)

    # the audit log

    def record_events(self, events: Sequence[Event]) -> None:
        with self._writing() as connection:
            statements.record_events(connection, events)

    def audit_head(self) -> AuditHead:
        with reading(self.engine) as connection:
            return audit_log.head(connection)

    def verify_audit(self, anchors: Mapping[str, AuditHead]) -> AuditReport:
        with reading(self.engine) as connection:
            return audit_log.verify(connection, self._seal, anchors)
