"""The few statements that every theme of the store is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping
from sqlalchemy.dialects import postgresql, sqlite

from hitl_bridge.adapters.sql import audit_log
from hitl_bridge.adapters.sql.rows import Row
from hitl_bridge.adapters.sql.tables import items, payloads
from hitl_bridge.ports import Event

CHUNK = 500
"""Values in one `IN (…)`: far below the limits of both databases."""

Value = TypeVar("Value")


def insert_new(connection: Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Inserts what is not there; a row that breaks a uniqueness constraint is already there and stays as it is."""
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(), rows)


def insert_new_returning(
    connection: Connection, table: sa.Table, rows: Sequence[Row], columns: Sequence[sa.Column[Any]]
) -> list[RowMapping]:
    """Like `insert_new`; returns `columns` of the rows that were not there, in no particular order."""
    if not rows:
        return []
    statement = _insert(connection, table).on_conflict_do_nothing().returning(*columns)
    return list(connection.execute(statement, rows).mappings())


def insert_or_update(connection: Connection, table: sa.Table, row: Row, *, key: Sequence[str]) -> None:
    """Inserts the row, or updates all its columns but `key` in the row of the same key."""
    insert = _insert(connection, table).values(row)
    changed = {name: insert.excluded[name] for name in row if name not in key}
    connection.execute(insert.on_conflict_do_update(index_elements=list(key), set_=changed))


def update_each(connection: Connection, statement: sa.Update, parameters: Sequence[Mapping[str, Any]]) -> None:
    """Runs an update with bound parameters for each set of them."""
    if parameters:
        connection.execute(statement, list(parameters))


def one_of(column: sa.Column[Any], values: Iterable[str]) -> sa.ColumnElement[bool]:
    """Like `IN`, which can't stand in a statement that `update_each` runs for many sets of parameters."""
    return sa.or_(*(column == value for value in values))


def record_events(connection: Connection, happened: Sequence[Event]) -> None:
    """Adds them to the audit log, in this transaction. The same event twice is one."""
    audit_log.append(connection, happened)


def items_with_input() -> sa.Select[Any]:
    """Items joined with their payload, if it was not erased."""
    payload = (payloads.c.item_id == items.c.item_id) & (payloads.c.revision == items.c.revision)
    return sa.select(items, payloads.c.input).select_from(items.outerjoin(payloads, payload))


def is_latest_revision() -> sa.ColumnElement[bool]:
    newer = items.alias("newer")
    same_item_but_newer = (newer.c.item_id == items.c.item_id) & (newer.c.revision > items.c.revision)
    return ~sa.exists().where(same_item_but_newer)


def chunks(values: Sequence[Value], size: int = CHUNK) -> Iterator[Sequence[Value]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _insert(connection: Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
