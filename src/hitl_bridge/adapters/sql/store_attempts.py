"""Tries that were begun and have not ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from hitl_bridge.adapters.sql.statements import chunks
from hitl_bridge.adapters.sql.tables import attempts


def deaths(connection: Connection, step: str) -> Mapping[str, int]:
    rows = connection.execute(sa.select(attempts).where(attempts.c.step == step)).mappings()
    return {row["subject"]: row["count"] for row in rows}


def begin_try(connection: Connection, step: str, subjects: Sequence[str], at: datetime) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(attempts)
    once_more = {"count": attempts.c.count + 1, "at": insert.excluded.at}
    counted = insert.on_conflict_do_update(index_elements=["step", "subject"], set_=once_more)
    rows = [{"step": step, "subject": subject, "count": 1, "at": at} for subject in dict.fromkeys(subjects)]
    if rows:
        connection.execute(counted, rows)


def end_try(connection: Connection, step: str, subjects: Sequence[str]) -> None:
    for some in chunks(subjects):
        connection.execute(sa.delete(attempts).where(attempts.c.step == step, attempts.c.subject.in_(some)))
