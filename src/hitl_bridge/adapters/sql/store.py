"""The bridge's memory on SQLite or PostgreSQL: one transaction a method; each theme's statements are in its own module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from hitl_bridge.adapters.sql import statements, store_commit, store_gone, store_ingest, store_pull, store_push, store_resolve
from hitl_bridge.adapters.sql.engine import PATIENCE, make_engine, reading, writing
from hitl_bridge.adapters.sql.insights import SqlInsights
from hitl_bridge.adapters.sql.migrate import bring_up_to_date
from hitl_bridge.core.model import (
    Annotation,
    BatchId,
    DatasetVersion,
    Decision,
    Item,
    ItemState,
    Project,
    ProjectId,
    ProjectKey,
    PushKey,
    ReviewTask,
    TaskState,
)
from hitl_bridge.ports import Batch, Event, OpenReview, ReceiptFile, Refusal, RemoteTask, Settlement, UncommittedDecision


def open_store(url: str, root: Path, *, patience: float = PATIENCE) -> SqlStore:
    """The store at `url` (sqlite:///… or postgresql+psycopg://…), its schema brought up to date.

    A relative SQLite path starts at `root`. `patience` is how many seconds a write waits for another one to end. Raises
    UsageError for a URL that is no such database, StoreUnavailable if it can't be opened, RefusedForSafety if a newer
    version of the bridge wrote it.
    """
    engine = make_engine(url, root, patience=patience)
    try:
        bring_up_to_date(engine)
    except BaseException:
        engine.dispose()
        raise
    return SqlStore(engine)


class SqlStore:
    """Implements `ports.StateStore`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._seen: store_resolve.Marks = {}

    def close(self) -> None:
        self.engine.dispose()

    def insights(self) -> SqlInsights:
        return SqlInsights(self.engine)

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

    def record_batch(self, batch: Batch, receipts: ReceiptFile | None, items: Sequence[Item]) -> None:
        with writing(self.engine) as connection:
            store_ingest.record_batch(connection, batch, receipts, items)

    # push

    def items_in(self, *states: ItemState) -> list[Item]:
        with reading(self.engine) as connection:
            return store_ingest.items_in(connection, states)

    def projects(self) -> list[Project]:
        with reading(self.engine) as connection:
            return store_push.all_projects(connection)

    def record_project(self, project: Project) -> None:
        with writing(self.engine) as connection:
            store_push.record_project(connection, project)

    def intend(self, tasks: Sequence[ReviewTask]) -> None:
        with writing(self.engine) as connection:
            store_push.intend(connection, tasks)

    def tasks_in(self, *states: TaskState) -> list[ReviewTask]:
        with reading(self.engine) as connection:
            return store_push.tasks_in(connection, states)

    def task_counts(self) -> Mapping[ProjectKey, int]:
        with reading(self.engine) as connection:
            return store_push.task_counts(connection)

    def mark_unknown(self, keys: Sequence[PushKey], at: datetime) -> None:
        with writing(self.engine) as connection:
            store_push.mark_unknown(connection, keys, at)

    def confirm(self, project_id: ProjectId, tasks: Sequence[RemoteTask], at: datetime) -> None:
        with writing(self.engine) as connection:
            store_push.confirm(connection, project_id, tasks)

    def refuse(self, refusals: Sequence[Refusal], at: datetime) -> None:
        with writing(self.engine) as connection:
            store_push.refuse(connection, refusals, at)

    def close_gone(self, keys: Sequence[PushKey], reason: str, at: datetime) -> int:
        with writing(self.engine) as connection:
            return store_gone.close_gone(connection, keys, reason, at)

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
        with writing(self.engine) as connection:
            return store_pull.record_pull(connection, project_id, revisions, cursor, at)

    # resolve

    def open_reviews(self) -> list[OpenReview]:
        with reading(self.engine) as connection:
            reviews, self._seen = store_resolve.open_reviews(connection)
            return reviews

    def record_settlements(self, settlements: Sequence[Settlement], at: datetime) -> None:
        """Settles what `open_reviews` of this store last showed: an annotation that came in since keeps its item marked."""
        with writing(self.engine) as connection:
            store_resolve.record_settlements(connection, settlements, at, self._seen)

    # commit

    def uncommitted(self) -> list[UncommittedDecision]:
        with reading(self.engine) as connection:
            return store_commit.uncommitted(connection)

    def dataset_versions(self) -> list[DatasetVersion]:
        with reading(self.engine) as connection:
            return store_commit.all_versions(connection)

    def record_version(self, version: DatasetVersion, decisions: Sequence[Decision]) -> None:
        with writing(self.engine) as connection:
            store_commit.record_version(connection, version, decisions)

    # the trace

    def record_events(self, events: Sequence[Event]) -> None:
        with writing(self.engine) as connection:
            statements.record_events(connection, events)
