"""Watching for drift: references, looks, and the audit rate that an alarm raises."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.lots import SqlLots
from hitl_bridge.adapters.sql.rows import receipt_file_of
from hitl_bridge.adapters.sql.statements import record_events
from hitl_bridge.adapters.sql.tables import (
    audit_rates,
    batches,
    drift_counts,
    drift_looks,
    drift_references,
    lot_counts,
    lot_verdicts,
    lots,
    receipt_files,
)
from hitl_bridge.core.audits.drift import DriftLook, Reference
from hitl_bridge.core.model import JSON
from hitl_bridge.ports import DriftState, Event, RaisedRate, ReceiptFile


class SqlLotsAndDrift(SqlLots):
    """Implements `ports.LotStore`."""

    def files_with(self, model_version: str, most: int) -> list[ReceiptFile]:
        of_model = lots.c.model_version == model_version
        held = sa.select(lot_counts.c.file).select_from(lot_counts.join(lots)).where(of_model, lot_counts.c.file > _given_up())
        wanted = sa.select(receipt_files).where(receipt_files.c.id.in_(held)).order_by(receipt_files.c.id).limit(most)
        with reading(self._engine) as connection:
            return [receipt_file_of(row) for row in connection.execute(wanted).mappings()]

    def drift(self) -> Mapping[str, DriftState]:
        with reading(self._engine) as connection:
            started = _restarted(connection)
            rows = connection.execute(_newest(drift_references)).mappings()
            references = [row for row in rows if started is None or row["at"] > started]
            looks = {row["model_version"]: row for row in connection.execute(_newest(drift_looks)).mappings()}
            return {row["model_version"]: _state(connection, row, looks.get(row["model_version"])) for row in references}

    def record_reference(self, model_version: str, reference: Reference, at: datetime) -> None:
        values = {"model_version": model_version, "below": reference.below, "items": reference.items, "low": reference.low}
        with self._writing() as connection:
            connection.execute(sa.insert(drift_references).values(values | {"at": at}))

    def record_look(self, model_version: str, look: DriftLook, raised: RaisedRate | None, at: datetime) -> None:
        figures: dict[str, JSON] = {"model_version": model_version, "items": look.items, "low": look.low, "p_value": look.p_value}
        with self._writing() as connection:
            up_to = sa.select(sa.func.max(drift_counts.c.id)).where(drift_counts.c.model_version == model_version)
            newest = connection.execute(up_to).scalar_one()
            connection.execute(sa.insert(drift_looks).values(figures | {"up_to": newest, "alarm": look.alarm, "at": at}))
            if look.alarm:
                record_events(connection, [Event(at, "drift", detail=figures)])
            if raised is not None:
                _record_rate(connection, raised)

    def audit_rate(self) -> RaisedRate | None:
        newest = sa.select(audit_rates).order_by(audit_rates.c.id.desc()).limit(1)
        with reading(self._engine) as connection:
            row = connection.execute(newest).mappings().first()
        return None if row is None else RaisedRate(row["rate"], row["reason"], row["by"], row["at"])

    def newest(self) -> str:
        with reading(self._engine) as connection:
            rows = (sa.select(sa.func.max(table.c.id)) for table in (audit_rates, lot_verdicts))
            return "/".join(str(connection.execute(each).scalar() or 0) for each in rows)

    def lower_audit_rate(self, row: RaisedRate) -> None:
        with self._writing() as connection:
            _record_rate(connection, row)


def _record_rate(connection: Connection, row: RaisedRate) -> None:
    connection.execute(sa.insert(audit_rates).values(rate=row.rate, reason=row.reason, by=row.by, at=row.at))
    record_events(connection, [Event(row.at, "audit_rate", detail={"rate": row.rate, "reason": row.reason}, actor=row.by)])


def _newest(table: sa.Table) -> sa.Select[Any]:
    """Of each model version."""
    return sa.select(table).where(table.c.id.in_(sa.select(sa.func.max(table.c.id)).group_by(table.c.model_version)))


def _restarted(connection: Connection) -> datetime | None:
    """When a person last said that what comes now is usual."""
    ended = sa.select(audit_rates.c.at).where(audit_rates.c.rate.is_(None)).order_by(audit_rates.c.id.desc()).limit(1)
    return connection.execute(ended).scalar()


def _given_up() -> sa.ScalarSelect[Any]:
    """The newest file that had been counted when a person last said so; 0 if nobody did."""
    ended = sa.select(sa.func.max(audit_rates.c.at)).where(audit_rates.c.rate.is_(None)).scalar_subquery()
    before = receipt_files.join(batches, receipt_files.c.batch_id == batches.c.batch_id)
    older = sa.select(sa.func.max(receipt_files.c.id)).select_from(before).where(batches.c.received_at <= ended)
    return sa.select(sa.func.coalesce(older.scalar_subquery(), 0)).scalar_subquery()


def _state(connection: Connection, reference: RowMapping, look: RowMapping | None) -> DriftState:
    version = reference["model_version"]
    fresh = look is None or look["at"] < reference["at"]
    seen = 0 if look is None else look["up_to"]
    counted = sa.select(sa.func.sum(drift_counts.c["items"]), sa.func.sum(drift_counts.c.low))
    counts = drift_counts.c.model_version == version
    items, low = connection.execute(counted.where(counts, drift_counts.c.id > seen)).one()
    last = None if fresh or look is None else DriftLook(look["items"], look["low"], look["p_value"], look["alarm"])
    at = None if fresh or look is None else look["at"]
    known = Reference(reference["below"], reference["items"], reference["low"])
    return DriftState(version, known, int(items or 0), int(low or 0), last, at)
