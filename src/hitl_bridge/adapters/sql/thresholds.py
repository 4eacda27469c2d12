"""Calibrations and thresholds: rows that are only ever added, each with its event in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, RowMapping

from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.rows import item_of
from hitl_bridge.adapters.sql.statements import insert_new_returning, is_latest_revision, record_events
from hitl_bridge.adapters.sql.store_commit import IS_LATEST_DECISION
from hitl_bridge.adapters.sql.tables import calibrations, decisions, items, thresholds
from hitl_bridge.core.model import JSON, ItemState, Op, Outcome, Purpose, Split
from hitl_bridge.core.triage.calibration import Calibration
from hitl_bridge.core.triage.plan import Threshold
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import CalibrationItem, CalibrationRow, Event, Standing, ThresholdRow

_ASKED = (items.c.purpose == Purpose.UNIFORM) & (items.c.split == Split.CALIBRATION) & (items.c.state != ItemState.WITHDRAWN)
_DECIDED = (
    (decisions.c.item_id == items.c.item_id)
    & (decisions.c.revision == items.c.revision)
    & IS_LATEST_DECISION
    & (decisions.c.op != Op.REMOVE)
)


class SqlThresholds:
    """Implements `ports.ThresholdStore`."""

    def __init__(self, engine: Engine, writing: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._engine = engine
        self._writing = writing

    def calibration_items(self) -> list[CalibrationItem]:
        judged = (decisions.c.outcome.label("judged_outcome"), decisions.c.output.label("judged_output"))
        wanted = sa.select(items, sa.null().label("input"), *judged).select_from(items.outerjoin(decisions, _DECIDED))
        in_order = wanted.where(_ASKED, is_latest_revision()).order_by(items.c.received_at, items.c.item_id)
        with reading(self._engine) as connection:
            return [_calibration_item(row) for row in connection.execute(in_order).mappings()]

    def mark(self) -> str:
        there = (
            sa.func.count(),
            sa.func.count(decisions.c.seq),
            sa.func.sum(decisions.c.seq),
            sa.func.max(decisions.c.decided_at),
        )
        counted = sa.select(*there).select_from(items.outerjoin(decisions, _DECIDED)).where(_ASKED, is_latest_revision())
        with reading(self._engine) as connection:
            return "/".join(str(each) for each in connection.execute(counted).one())

    def in_force(self) -> Sequence[ThresholdRow]:
        return self._newest_of_each(thresholds.c.standing != Standing.PROPOSED)

    def proposals(self) -> Sequence[ThresholdRow]:
        newest = self._newest_of_each(sa.true())
        return [row for row in newest if row.standing is Standing.PROPOSED]

    def newest(self) -> int:
        with reading(self._engine) as connection:
            return connection.execute(sa.select(sa.func.max(thresholds.c.id))).scalar() or 0

    def calibration_row(self, calibration: Calibration) -> CalibrationRow | None:
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(calibrations).where(*_same(calibration))).mappings().first()
        return None if row is None else _calibration_row(row)

    def record_calibration(self, row: CalibrationRow) -> None:
        values = {
            "model_version": row.calibration.model_version,
            "method": row.calibration.method,
            "parameters": list(row.calibration.parameters),
            "items": row.items,
            "items_digest": row.items_digest,
            "figures": row.figures,
            "at": row.at,
        }
        with self._writing() as connection:
            if insert_new_returning(connection, calibrations, [values], [calibrations.c.id]):
                record_events(connection, [_fitted(row)])

    def record(self, row: ThresholdRow) -> None:
        values = {
            "model_version": row.model_version,
            "standing": row.standing,
            "bounds": [[each.scenario, each.max_risk] for each in row.thresholds],
            "terms": row.terms,
            "figures": row.figures,
            "items": row.items,
            "items_digest": row.items_digest,
            "by": row.by,
            "reason": row.reason,
            "at": row.at,
        }
        with self._writing() as connection:
            number = None if row.calibration is None else _number(connection, row.calibration)
            connection.execute(sa.insert(thresholds).values(values | {"calibration": number}))
            record_events(connection, [_written(row)])

    def _newest_of_each(self, condition: sa.ColumnElement[bool]) -> list[ThresholdRow]:
        newest = sa.select(sa.func.max(thresholds.c.id)).where(condition).group_by(thresholds.c.model_version)
        parts = [calibrations.c.method.label("c_method"), calibrations.c.parameters.label("c_parameters")]
        wanted = sa.select(thresholds, *parts).select_from(thresholds.outerjoin(calibrations))
        with reading(self._engine) as connection:
            rows = connection.execute(wanted.where(thresholds.c.id.in_(newest)).order_by(thresholds.c.id)).mappings()
            return [_threshold_row(row) for row in rows]


def _same(calibration: Calibration) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        calibrations.c.model_version == calibration.model_version,
        calibrations.c.method == calibration.method,
        calibrations.c.parameters == list(calibration.parameters),
    )


def _number(connection: Connection, calibration: Calibration) -> int:
    number = connection.execute(sa.select(calibrations.c.id).where(*_same(calibration))).scalar()
    if number is None:
        raise UsageError("These thresholds name a calibration that was never recorded.", remedy="Record the calibration first.")
    return int(number)


def _calibration_item(row: RowMapping) -> CalibrationItem:
    outcome = row["judged_outcome"]
    return CalibrationItem(item_of(row), None if outcome is None else Outcome(outcome), row["judged_output"])


def _calibration_row(row: RowMapping) -> CalibrationRow:
    calibration = Calibration(row["model_version"], row["method"], tuple(row["parameters"]))
    return CalibrationRow(calibration, row["items"], row["items_digest"], row["figures"], row["at"])


def _threshold_row(row: RowMapping) -> ThresholdRow:
    version: str = row["model_version"]
    method: Any = row["c_method"]
    return ThresholdRow(
        model_version=version,
        standing=Standing(row["standing"]),
        calibration=None if method is None else Calibration(version, method, tuple(row["c_parameters"])),
        thresholds=tuple(Threshold(version, max_risk, scenario) for scenario, max_risk in row["bounds"]),
        terms=row["terms"],
        figures=row["figures"],
        items=row["items"],
        items_digest=row["items_digest"],
        by=row["by"],
        reason=row["reason"],
        at=row["at"],
        number=row["id"],
    )


def _fitted(row: CalibrationRow) -> Event:
    detail: dict[str, JSON] = {
        "model_version": row.calibration.model_version,
        "method": row.calibration.method,
        "parameters": list(row.calibration.parameters),
        "items": row.items,
        "items_digest": row.items_digest,
    }
    return Event(row.at, "calibration", detail=detail)


def _written(row: ThresholdRow) -> Event:
    detail: dict[str, JSON] = {
        "model_version": row.model_version,
        "bounds": [[each.scenario, each.max_risk] for each in row.thresholds],
        "terms": row.terms,
        "items": row.items,
        "items_digest": row.items_digest,
        "reason": row.reason,
    }
    return Event(row.at, f"thresholds.{row.standing}", detail=detail, actor=row.by)
