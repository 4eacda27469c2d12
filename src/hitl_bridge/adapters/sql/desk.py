"""What a person settles: quarantine, failures, and a store that was restored. Writes go through the store's own fence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from hitl_bridge.adapters.sql import store_backup, store_failures, store_quarantine
from hitl_bridge.adapters.sql.audit_log import Seal
from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.statements import insert_or_update, record_events
from hitl_bridge.adapters.sql.tables import cursors, meta
from hitl_bridge.core.model import Item
from hitl_bridge.ports import AuditHead, Event, FailedItem, QuarantinedRevision, Ruling, UnreadableTask

Writing = Callable[[], AbstractContextManager[Connection]]


class SqlDesk:
    """Implements `ports.Quarantine`, `ports.Failures` and `ports.RestoredStore`."""

    def __init__(self, engine: Engine, writing: Writing, seal: Seal) -> None:
        self._engine = engine
        self._writing = writing
        self._seal = seal

    # quarantine

    def quarantined(self) -> list[QuarantinedRevision]:
        with reading(self._engine) as connection:
            return store_quarantine.quarantined(connection)

    def unreadable(self) -> list[UnreadableTask]:
        with reading(self._engine) as connection:
            return store_quarantine.unreadable(connection)

    def rule(self, ruling: Ruling) -> None:
        with self._writing() as connection:
            store_quarantine.rule(connection, ruling, self._seal)

    # failures

    def failed_items(self) -> list[FailedItem]:
        with reading(self._engine) as connection:
            return store_failures.failed_items(connection)

    def requeue(self, items: Sequence[Item], by: str, reason: str, at: datetime) -> None:
        with self._writing() as connection:
            store_failures.requeue(connection, items, by, reason, at)

    # after a restore

    def knows(self, head: AuditHead) -> bool:
        with reading(self._engine) as connection:
            return store_backup.knows(connection, head)

    def remembered(self, name: str) -> str | None:
        with reading(self._engine) as connection:
            return store_backup.remembered(connection, name)

    def accept_restored(self, notes: Mapping[str, str], event: Event) -> None:
        with self._writing() as connection:
            connection.execute(sa.update(cursors).values(position=None, swept_at=None))
            for name, value in notes.items():
                insert_or_update(connection, meta, {"name": name, "value": value}, key=("name",))
            record_events(connection, [event])
