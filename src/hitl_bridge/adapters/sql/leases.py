"""Leases in the database: a token that only grows, taken by compare-and-swap, and checked by every writing transaction."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from hitl_bridge.adapters.sql.engine import reading, writing
from hitl_bridge.adapters.sql.statements import insert_new
from hitl_bridge.adapters.sql.tables import leases
from hitl_bridge.errors import LeaseLost
from hitl_bridge.ports import Lease, LeaseSeen

_NOBODY = ""


class SqlLeases:
    """Implements `ports.Leases`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def look(self, scope: str) -> LeaseSeen:
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(leases).where(leases.c.scope == scope)).first()
        return LeaseSeen(0, _NOBODY, 0) if row is None else LeaseSeen(row.token, row.holder, row.beat)

    def check(self, lease: Lease) -> None:
        with reading(self._engine) as connection:
            check_lease(connection, lease)

    def take(self, scope: str, holder: str, seen: LeaseSeen) -> Lease | None:
        mine = Lease(scope, seen.token + 1, holder)
        as_seen = (leases.c.scope == scope, leases.c.token == seen.token, leases.c.beat == seen.beat)
        with writing(self._engine) as connection:
            insert_new(connection, leases, [{"scope": scope, "token": 0, "holder": _NOBODY, "beat": 0}])
            taken = connection.execute(sa.update(leases).where(*as_seen).values(token=mine.token, holder=holder, beat=0))
        return mine if taken.rowcount else None

    def beat(self, lease: Lease) -> bool:
        with writing(self._engine) as connection:
            held = connection.execute(sa.update(leases).where(*_is(lease)).values(beat=leases.c.beat + 1))
        return bool(held.rowcount)

    def give_back(self, lease: Lease) -> None:
        with writing(self._engine) as connection:
            connection.execute(sa.update(leases).where(*_is(lease)).values(holder=_NOBODY))


def check_lease(connection: Connection, lease: Lease) -> None:
    """Raises LeaseLost if somebody has taken over. In a writing transaction nobody can before it ends."""
    newest = connection.execute(sa.select(leases.c.token).where(leases.c.scope == lease.scope)).scalar()
    if newest != lease.token:
        raise LeaseLost(
            f"Another hitl-bridge has taken over ({lease.scope}), as this one stood still for too long; nothing was written.",
            remedy="Nothing is lost: the other one goes on. Run the command again if it was run by hand.",
        )


def _is(lease: Lease) -> tuple[sa.ColumnElement[bool], ...]:
    return leases.c.scope == lease.scope, leases.c.token == lease.token
