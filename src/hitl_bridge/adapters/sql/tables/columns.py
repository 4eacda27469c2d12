"""The kinds of columns, and the names of constraints."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Boolean, Column, Integer, MetaData

from hitl_bridge.adapters.sql.column_types import Json, Moment, Number, Text

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

# SQLite numbers rows by itself only in a column that is exactly INTEGER.
RowId = sa.BigInteger().with_variant(Integer, "sqlite")


def text(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Text(name), nullable=nullable)


def json_value(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Json(name), nullable=nullable)


def moment(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Moment(name), nullable=nullable)


def number(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Number(name), nullable=nullable)


def count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False)


def flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


def epoch() -> Column[int]:
    return Column("epoch", Integer, nullable=False, server_default="0")


def remote_id(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, sa.BigInteger, nullable=nullable)


def sequence() -> Column[Any]:
    return Column("id", RowId, primary_key=True, autoincrement=True)


def where(condition: str) -> dict[str, Any]:
    """The condition of a partial index, in both dialects."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
