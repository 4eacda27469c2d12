"""Lots and their audits. A lot's figures are sums over what was counted once; only draws and decisions are joined anew."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, RowMapping

from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.rows import receipt_file_of
from hitl_bridge.adapters.sql.statements import chunks, insert_new, insert_new_returning, record_events
from hitl_bridge.adapters.sql.tables import (
    batches,
    counted_files,
    decisions,
    drift_counts,
    events,
    items,
    lot_counts,
    lot_draws,
    lot_verdicts,
    lots,
    recalls,
    receipt_files,
    review_tasks,
)
from hitl_bridge.core.audits.audited import Stratum, inclusion
from hitl_bridge.core.audits.lots import Lot, LotVerdict
from hitl_bridge.core.model import ADJUDICATION, JSON, ItemState, Op, Outcome
from hitl_bridge.ports import (
    CEILING,
    Blind,
    CountedFile,
    Event,
    LookedAt,
    LotPart,
    LotRow,
    Recall,
    ReceiptFile,
    UncountedFile,
)

Writing = Callable[[], AbstractContextManager[Connection]]

_SETTLED = (ItemState.DECIDED, ItemState.QUEUED, ItemState.ANSWERED, ItemState.PUSHED, ItemState.WITHDRAWN)
"""Events after which a decision may be there, or be another, or be gone."""

_newer = decisions.alias("newer")
_HOLDS = (
    (decisions.c.item_id == lot_draws.c.item_id)
    & (decisions.c.revision == lot_draws.c.revision)
    & (decisions.c.op != Op.REMOVE)
    & ~sa.exists().where(
        _newer.c.item_id == decisions.c.item_id, _newer.c.revision == decisions.c.revision, _newer.c.seq > decisions.c.seq
    )
)
_OF_ITEM = (items.c.item_id == lot_draws.c.item_id) & (items.c.revision == lot_draws.c.revision)
_DRAWS = lot_draws.outerjoin(decisions, _HOLDS).outerjoin(items, _OF_ITEM)

# The outcome compares with the prediction that made the item; another model's is held against the answer itself (there is
# none where the item was rejected).
_RIGHT = sa.func.coalesce(
    sa.case(
        (items.c.model_version == lot_draws.c.model_version, decisions.c.outcome == Outcome.ACCEPTED),
        else_=decisions.c.output == lot_draws.c.output,
    ),
    sa.false(),
)
_IS_DECIDED = decisions.c.seq.is_not(None)
_WENT_ON = sa.exists().where(
    review_tasks.c.item_id == lot_draws.c.item_id,
    review_tasks.c.revision == lot_draws.c.revision,
    review_tasks.c.tier == ADJUDICATION,
)


def _sum(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


class SqlLots:
    """Implements the part of `ports.LotStore` that is about lots; `SqlLotsAndDrift` adds drift."""

    def __init__(self, engine: Engine, writing: Writing) -> None:
        self._engine = engine
        self._writing = writing

    # counting

    def uncounted(self, most: int) -> list[UncountedFile]:
        counted = sa.select(sa.func.coalesce(sa.func.max(counted_files.c.file), 0)).scalar_subquery()
        joined = receipt_files.join(batches, receipt_files.c.batch_id == batches.c.batch_id)
        wanted = sa.select(receipt_files, batches.c.received_at).select_from(joined).where(receipt_files.c.id > counted)
        with reading(self._engine) as connection:
            rows = connection.execute(wanted.order_by(receipt_files.c.id).limit(most)).mappings()
            return [UncountedFile(row["id"], receipt_file_of(row), row["received_at"]) for row in rows]

    def files_of(self, lot: Lot) -> list[ReceiptFile]:
        held = sa.select(lot_counts.c.file).where(lot_counts.c.lot_id == lot.lot_id)
        wanted = sa.select(receipt_files).where(receipt_files.c.id.in_(held)).order_by(receipt_files.c.id)
        with reading(self._engine) as connection:
            return [receipt_file_of(row) for row in connection.execute(wanted).mappings()]

    def record_counts(self, counted: CountedFile) -> None:
        with self._writing() as connection:
            if not insert_new_returning(connection, counted_files, [{"file": counted.number}], [counted_files.c.file]):
                return
            there = {lot.lot_id: lot for lot, _ in (*counted.groups, *counted.drawn)}
            insert_new(connection, lots, [_lot_row(lot) for lot in there.values()])
            _insert(connection, lot_counts, [_count_row(counted.number, lot, group) for lot, group in counted.groups])
            insert_new(connection, lot_draws, [_draw_row(lot, drawn) for lot, drawn in counted.drawn])
            unsure = counted.unsure.items()
            _insert(connection, drift_counts, [_unsure_row(counted.number, name, *pair) for name, pair in unsure])

    def mark(self) -> str:
        settled = sa.select(sa.func.max(events.c.seq)).where(events.c.action.in_([state.value for state in _SETTLED]))
        counted = sa.select(sa.func.max(counted_files.c.file))
        with reading(self._engine) as connection:
            return "/".join(str(connection.execute(each).scalar()) for each in (settled, counted))

    # judging

    def lots(self) -> list[Lot]:
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(lots).order_by(lots.c.starts_at, lots.c.lot_id)).mappings()
            return [lot_of_row(row) for row in rows]

    def parts(self, lot_ids: Collection[str] | None = None) -> list[LotPart]:
        counted, looked = _COUNTED, _LOOKED
        if lot_ids is not None:
            counted = counted.where(lot_counts.c.lot_id.in_(lot_ids))
            looked = looked.where(lot_draws.c.lot_id.in_(lot_ids))
        with reading(self._engine) as connection:
            found = {_part_key(row): row for row in connection.execute(looked).mappings()}
            return [_part(row, found.get(_part_key(row))) for row in _merged(connection.execute(counted).mappings().all())]

    def verdicts(self) -> Mapping[str, LotRow]:
        newest = sa.select(sa.func.max(lot_verdicts.c.id)).group_by(lot_verdicts.c.lot_id)
        wanted = sa.select(lots, lot_verdicts.c.verdict, lot_verdicts.c.figures, lot_verdicts.c.at)
        wanted = wanted.select_from(lot_verdicts.join(lots)).where(lot_verdicts.c.id.in_(newest)).order_by(lot_verdicts.c.id)
        with reading(self._engine) as connection:
            rows = connection.execute(wanted).mappings()
            return {row["lot_id"]: LotRow(lot_of_row(row), LotVerdict(row["verdict"]), row["figures"], row["at"]) for row in rows}

    def record_verdict(self, row: LotRow, *, recall: bool) -> None:
        values = {"lot_id": row.lot.lot_id, "verdict": row.verdict, "figures": row.figures, "at": row.at}
        with self._writing() as connection:
            connection.execute(sa.insert(lot_verdicts).values(values))
            told = [_verdict_event(row)]
            if recall:
                called = {"lot_id": row.lot.lot_id, "at": row.at, "delivered_at": None, "tries": 0}
                insert_new(connection, recalls, [called])
                told.append(Event(row.at, "recall", detail={"lot_id": row.lot.lot_id}))
            record_events(connection, told)

    def ceilings(self, settings_version: str) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for row in self.verdicts().values():
            ceiling = row.figures.get(CEILING)
            if row.figures.get("settings_version") == settings_version and isinstance(ceiling, int | float):
                found[row.lot.model_version] = min(float(ceiling), found.get(row.lot.model_version, 1.0))
        return found

    def risks_of(self, lot_id: str) -> list[tuple[float, bool]]:
        found = sa.select(lot_draws.c.risk, sa.case((_IS_DECIDED & _RIGHT, 1), else_=0).label("right"))
        wanted = found.select_from(_DRAWS).where(lot_draws.c.lot_id == lot_id, lot_draws.c.approved)
        with reading(self._engine) as connection:
            rows = connection.execute(wanted.order_by(lot_draws.c.risk)).mappings()
            return [(row["risk"], not row["right"]) for row in rows]

    # recalls

    def recalls(self) -> list[Recall]:
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(recalls).order_by(recalls.c.at, recalls.c.lot_id)).mappings()
            return [Recall(row["lot_id"], row["at"], row["delivered_at"], row["tries"]) for row in rows]

    def record_try(self, lot_id: str, at: datetime, *, delivered: bool) -> None:
        changed: dict[str, Any] = {"tries": recalls.c.tries + 1} | ({"delivered_at": at} if delivered else {})
        with self._writing() as connection:
            connection.execute(sa.update(recalls).where(recalls.c.lot_id == lot_id).values(changed))
            if delivered:
                record_events(connection, [Event(at, "recall.delivered", detail={"lot_id": lot_id})])

    # all blind looks

    def blind(self) -> Blind:
        approved = _IS_DECIDED & _RIGHT & lot_draws.c.approved
        wanted = sa.select(_sum(approved).label("right"), _sum(approved & _WENT_ON).label("alarms")).select_from(_DRAWS)
        with reading(self._engine) as connection:
            row = connection.execute(wanted).mappings().one()
        return Blind(row["right"], row["alarms"])

    def looked_at(self) -> LookedAt:
        decided = sa.select(lot_draws.c.probability, lot_draws.c.risk, sa.case((_RIGHT, 0), else_=1).label("wrong"))
        waiting = sa.select(_sum(~_IS_DECIDED)).select_from(_DRAWS)
        total = sa.select(
            sa.func.coalesce(sa.func.sum(lot_counts.c.approved + lot_counts.c.other), 0),
            sa.func.coalesce(sa.func.sum(lot_counts.c.approved_risk + lot_counts.c.other_risk), 0.0),
        )
        with reading(self._engine) as connection:
            rows = connection.execute(decided.select_from(_DRAWS).where(_IS_DECIDED)).all()
            traffic, risk = connection.execute(total).one()
            left = connection.execute(waiting).scalar_one()
        columns: Sequence[Sequence[Any]] = tuple(zip(*rows, strict=True)) or ((), (), ())
        return LookedAt(columns[0], columns[1], [bool(each) for each in columns[2]], int(traffic), float(risk), int(left))


_COUNTED = (
    sa.select(
        lot_counts.c.lot_id,
        lot_counts.c.scenario,
        lot_counts.c.uniform_rate,
        lot_counts.c.audit_rate,
        sa.func.sum(lot_counts.c.approved).label("approved"),
        sa.func.sum(lot_counts.c.approved + lot_counts.c.other).label("traffic"),
    )
    .group_by(lot_counts.c.lot_id, lot_counts.c.scenario, lot_counts.c.uniform_rate, lot_counts.c.audit_rate)
    .order_by(lot_counts.c.lot_id, lot_counts.c.scenario, lot_counts.c.uniform_rate, lot_counts.c.audit_rate)
)
_LOOKED = (
    sa.select(
        lot_draws.c.lot_id,
        lot_draws.c.scenario,
        lot_draws.c.probability,
        sa.func.count().label("drawn"),
        _sum(_IS_DECIDED & _RIGHT).label("right"),
        _sum(_IS_DECIDED & ~_RIGHT).label("wrong"),
    )
    .select_from(_DRAWS)
    .where(lot_draws.c.approved)
    .group_by(lot_draws.c.lot_id, lot_draws.c.scenario, lot_draws.c.probability)
)

PartKey = tuple[str, str | None, float]


def _part_key(row: Mapping[str, Any] | RowMapping) -> PartKey:
    return row["lot_id"], row["scenario"], row["probability"]


def _merged(rows: Sequence[RowMapping]) -> list[dict[str, Any]]:
    """By the probability that the rates come to: two pairs of rates may come to the same."""
    found: dict[PartKey, dict[str, Any]] = {}
    for row in rows:
        part = {**row, "probability": inclusion(row["uniform_rate"], row["audit_rate"])}
        known = found.setdefault(_part_key(part), part | {"approved": 0, "traffic": 0})
        known["approved"] += int(row["approved"])
        known["traffic"] += int(row["traffic"])
    return list(found.values())


def _part(counted: Mapping[str, Any], looked: RowMapping | None) -> LotPart:
    right, wrong, drawn = (0, 0, 0) if looked is None else (int(looked[name]) for name in ("right", "wrong", "drawn"))
    stratum = Stratum(counted["probability"], counted["approved"], right, wrong, drawn - right - wrong)
    return LotPart(counted["lot_id"], counted["scenario"], stratum, counted["traffic"])


def _insert(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    for some in chunks(rows):
        connection.execute(sa.insert(table), list(some))


def lot_of_row(row: RowMapping) -> Lot:
    return Lot(*(row[name] for name in ("lot_id", "model_version", "policy_version", "starts_at", "ends_at")))


def _lot_row(lot: Lot) -> dict[str, object]:
    return {name: getattr(lot, name) for name in Lot.__slots__}


def _count_row(file: int, lot: Lot, group: Any) -> dict[str, object]:
    names = ("scenario", "uniform_rate", "audit_rate", "approved", "approved_risk", "other", "other_risk")
    return {"file": file, "lot_id": lot.lot_id} | {name: getattr(group, name) for name in names}


def _draw_row(lot: Lot, drawn: Any) -> dict[str, object]:
    names = ("item_id", "revision", "model_version", "scenario", "risk", "approved", "output")
    probability = inclusion(drawn.uniform_rate, drawn.audit_rate) if drawn.approved else drawn.uniform_rate
    return {"lot_id": lot.lot_id, "probability": probability} | {name: getattr(drawn, name) for name in names}


def _unsure_row(file: int, model_version: str, count: int, low: int) -> dict[str, object]:
    return {"file": file, "model_version": model_version, "items": count, "low": low}


def _verdict_event(row: LotRow) -> Event:
    named: dict[str, JSON] = {name: getattr(row.lot, name) for name in ("lot_id", "model_version", "policy_version")}
    return Event(row.at, f"lot.{row.verdict}", detail=named | dict(row.figures))
