"""What the store is asked theme by theme: each theme's port in its own module, all of them behind one engine and one fence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from hitl_bridge.adapters.sql import store_backup
from hitl_bridge.adapters.sql.agreement import SqlAgreement
from hitl_bridge.adapters.sql.audit_log import Seal
from hitl_bridge.adapters.sql.desk import SqlDesk
from hitl_bridge.adapters.sql.drift import SqlLotsAndDrift
from hitl_bridge.adapters.sql.engine import writing
from hitl_bridge.adapters.sql.escalations import SqlEscalations
from hitl_bridge.adapters.sql.gold import SqlGold
from hitl_bridge.adapters.sql.insights import SqlInsights
from hitl_bridge.adapters.sql.leases import SqlLeases, check_lease
from hitl_bridge.adapters.sql.notices import SqlNotices
from hitl_bridge.adapters.sql.online import SqlOnline
from hitl_bridge.adapters.sql.people import SqlPeople
from hitl_bridge.adapters.sql.policies import SqlPolicies
from hitl_bridge.adapters.sql.prior import SqlPrior
from hitl_bridge.adapters.sql.record import SqlReviewRecord
from hitl_bridge.adapters.sql.reverts import SqlReverts
from hitl_bridge.adapters.sql.signing import SqlSignOffs
from hitl_bridge.adapters.sql.thresholds import SqlThresholds
from hitl_bridge.ports import Lease


class Themes:
    """While `fence` is set, whatever is written is refused (LeaseLost) once that lease is not the newest of its scope any
    more."""

    def __init__(self, engine: Engine, seal: Seal) -> None:
        self.engine = engine
        self.fence: Lease | None = None
        self._seal = seal

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with writing(self.engine) as connection:
            if self.fence is not None:
                check_lease(connection, self.fence)
            yield connection

    def insights(self) -> SqlInsights:
        return SqlInsights(self.engine)

    def leases(self) -> SqlLeases:
        return SqlLeases(self.engine)

    def desk(self) -> SqlDesk:
        return SqlDesk(self.engine, self._writing, self._seal)

    def reverts(self) -> SqlReverts:
        return SqlReverts(self.engine, self._writing, self._seal)

    def agreement(self) -> SqlAgreement:
        return SqlAgreement(self.engine, self._writing)

    def gold(self) -> SqlGold:
        return SqlGold(self.engine, self._writing, self._seal)

    def escalations(self) -> SqlEscalations:
        return SqlEscalations(self.engine, self._writing)

    def notices(self) -> SqlNotices:
        return SqlNotices(self.engine, self._writing)

    def people(self) -> SqlPeople:
        return SqlPeople(self.engine, self._writing, self._seal)

    def online(self) -> SqlOnline:
        return SqlOnline(self.engine, self._writing)

    def thresholds(self) -> SqlThresholds:
        return SqlThresholds(self.engine, self._writing)

    def lots(self) -> SqlLotsAndDrift:
        return SqlLotsAndDrift(self.engine, self._writing)

    def policies(self) -> SqlPolicies:
        return SqlPolicies(self.engine, self._writing)

    def sign_offs(self) -> SqlSignOffs:
        return SqlSignOffs(self.engine, self._writing)

    def prior(self) -> SqlPrior:
        return SqlPrior(self.engine)

    def record(self) -> SqlReviewRecord:
        return SqlReviewRecord(self.engine)

    def backups(self) -> store_backup.SqliteBackups | store_backup.PostgresBackups:
        return store_backup.backups(self.engine)
