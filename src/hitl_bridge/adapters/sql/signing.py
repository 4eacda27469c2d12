"""Sign-offs, champions and trainings: rows that are only ever added, each with its event in the same transaction.

The event carries a digest of the row, so that a row that was put in, edited or removed by hand differs from the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, RowMapping

from hitl_bridge.adapters.sql.column_types import canonical_json, moment_text
from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.rows import event_of
from hitl_bridge.adapters.sql.statements import insert_new_returning, record_events
from hitl_bridge.adapters.sql.tables import champions, decisions, events, sign_offs
from hitl_bridge.core.model import JSON, JSONObject, Op, Outcome
from hitl_bridge.core.signing import Kind, Method
from hitl_bridge.ports import AuditProblem, Champion, Event, SignOff, Training

_SIGNED, _PROMOTED, _ROLLED_BACK, _TRAINED = "sign_off", "model.promoted", "model.rolled_back", "model.trained"
_FEW = 1_000


class SqlSignOffs:
    """Implements `ports.SignOffs`."""

    def __init__(self, engine: Engine, writing: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._engine = engine
        self._writing = writing

    def of_kind(self, kind: Kind) -> Sequence[SignOff]:
        wanted = sa.select(sign_offs).where(sign_offs.c.kind == kind).order_by(sign_offs.c.number)
        with reading(self._engine) as connection:
            return [_sign_off(row) for row in connection.execute(wanted).mappings()]

    def record(self, sign_off: SignOff) -> bool:
        with self._writing() as connection:
            new = bool(insert_new_returning(connection, sign_offs, [_values(sign_off)], [sign_offs.c.id]))
            if new:
                record_events(connection, [_signed(sign_off)])
        return new

    def champions(self) -> Sequence[Champion]:
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(champions).order_by(champions.c.number)).mappings()
            return [_champion(row) for row in rows]

    def record_champion(self, champion: Champion) -> None:
        with self._writing() as connection:
            if insert_new_returning(connection, champions, [_values(champion)], [champions.c.number]):
                record_events(connection, [_took_over(champion)])

    def record_training(self, training: Training) -> None:
        said = {"candidate": training.candidate, "verdict": training.verdict, "git_commit": training.git_commit}
        detail: dict[str, JSON] = {**said, **training.detail}
        with self._writing() as connection:
            record_events(connection, [Event(training.at, _TRAINED, detail=detail, actor=training.by)])

    def trained(self, candidate: str) -> Sequence[Training]:
        found = [each for each in self._trainings() if each.candidate == candidate]
        return found[::-1]

    def last_training(self) -> Training | None:
        return next(self._trainings(1), None)

    def corrections_in(self, versions: Collection[str]) -> int:
        held = (decisions.c.version.in_(versions), decisions.c.outcome == Outcome.CORRECTED, decisions.c.op != Op.REMOVE)
        with reading(self._engine) as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(decisions).where(*held)).scalar_one())

    def unlike_the_log(self) -> Sequence[AuditProblem]:
        with reading(self._engine) as connection:
            logged = _logged(connection)
            kept = {f"sign-off {row.kind} {row.number}": _digest(row) for row in self._all_sign_offs(connection)}
            kept |= {f"champion {row.number}": _digest(row) for row in map(_champion, _rows(connection, champions))}
        return list(_compared(kept, logged))

    def _trainings(self, most: int = _FEW) -> Iterator[Training]:
        wanted = sa.select(events).where(events.c.action == _TRAINED).order_by(events.c.seq.desc()).limit(most)
        with reading(self._engine) as connection:
            yield from [_training(event_of(row)) for row in connection.execute(wanted).mappings()]

    @staticmethod
    def _all_sign_offs(connection: Connection) -> list[SignOff]:
        return [_sign_off(row) for row in _rows(connection, sign_offs)]


def _rows(connection: Connection, table: sa.Table) -> Sequence[RowMapping]:
    return connection.execute(sa.select(table)).mappings().all()


def _values(row: SignOff | Champion) -> dict[str, Any]:
    return {each.name: getattr(row, each.name) for each in fields(row)}


def _digest(row: SignOff | Champion) -> str:
    said = {name: moment_text(value, name) if name == "at" else value for name, value in _values(row).items()}
    return hashlib.sha256(canonical_json(cast("JSON", said), "sign_off").encode()).hexdigest()


def _sign_off(row: RowMapping) -> SignOff:
    values = {each.name: row[each.name] for each in fields(SignOff)}
    return SignOff(**values | {"kind": Kind(row["kind"]), "method": Method(row["method"])})


def _champion(row: RowMapping) -> Champion:
    return Champion(**{each.name: row[each.name] for each in fields(Champion)})


def _training(event: Event) -> Training:
    known = event.detail
    verdict, commit = known.get("verdict"), known.get("git_commit")
    return Training(
        str(known.get("candidate")),
        verdict if isinstance(verdict, str) else None,
        event.actor,
        commit if isinstance(commit, str) else None,
        event.at,
        known,
    )


def _signed(row: SignOff) -> Event:
    detail: dict[str, JSON] = {
        "row": f"sign-off {row.kind} {row.number}",
        "kind": row.kind,
        "subject": row.subject,
        "method": row.method,
        "proof": row.proof,
        "reason": row.reason,
        "overridden": row.statement.get("overridden", False),
    }
    return Event(row.at, _SIGNED, detail=detail, actor=row.approver, after=_digest(row))


def _took_over(row: Champion) -> Event:
    detail: dict[str, JSON] = {
        "row": f"champion {row.number}",
        "model_version": row.model_version,
        "version": row.version,
        "git_commit": row.git_commit,
        "tags": dict(row.tags),
        "signed_off": row.signed_off,
        "reason": row.reason,
    }
    return Event(row.at, _ROLLED_BACK if row.rolled_back else _PROMOTED, detail=detail, actor=row.by, after=_digest(row))


def _logged(connection: Connection) -> dict[str, str]:
    wanted = sa.select(events).where(events.c.action.in_((_SIGNED, _PROMOTED, _ROLLED_BACK))).order_by(events.c.seq)
    told = [event_of(row) for row in connection.execute(wanted).mappings()]
    return {str(_detail(event)["row"]): str(event.after) for event in told}


def _detail(event: Event) -> JSONObject:
    return event.detail


def _compared(kept: Mapping[str, str], logged: Mapping[str, str]) -> Iterator[AuditProblem]:
    for name, digest in kept.items():
        if name not in logged:
            yield AuditProblem(0, f"{name} is in no event of the log: it was put into the table by hand")
        elif logged[name] != digest:
            yield AuditProblem(0, f"{name} is not what the log says was written: it was edited")
    for name in logged.keys() - kept.keys():
        yield AuditProblem(0, f"{name} is in the log and was removed from the table")
