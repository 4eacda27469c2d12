"""Brings a database to the schema of `tables.py`. Runs when a store is opened; an up-to-date database costs one query.

All of it is one transaction on both databases: a process that dies half-way leaves the schema as it was.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from hitl_bridge.adapters.sql.copies import copy_pages, make_durable
from hitl_bridge.adapters.sql.engine import place, reading, writing
from hitl_bridge.errors import RefusedForSafety

HEAD = "0005"
"""The newest revision in `migrations/versions`; a test holds the two together. Kept here so that opening an up-to-date
store need not load Alembic."""

_OLDER: frozenset[str | None] = frozenset({None, "0001", "0002", "0003", "0004"})
"""Revisions that this version can bring up to HEAD; None is an empty database."""


def bring_up_to_date(engine: Engine) -> bool:
    """Whether anything had to be done. Raises RefusedForSafety for a database of a newer version."""
    with reading(engine) as connection:
        if _is_current(connection, engine):
            return False
    with writing(engine) as connection:
        # Asked again under the lock: another process may have done it while this one waited.
        if _is_current(connection, engine):
            return False
        if engine.dialect.name == "sqlite" and _revision(connection) is not None:
            _put_aside(Path(str(engine.url.database)))
        _upgrade(connection)
    return True


def _put_aside(database: Path) -> None:
    """A copy beside the database, as it was before: `bridge.db.before-0002`. Nobody writes meanwhile: we hold the lock.

    On PostgreSQL that is the operator's: `hitl-bridge backup` before the upgrade.
    """
    copy = database.with_name(f"{database.name}.before-{HEAD}")
    partial = copy.with_name(f"{copy.name}.partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    with closing(sqlite3.connect(database)) as source:
        copy_pages(source, partial)
    make_durable(partial)
    partial.replace(copy)


def _is_current(connection: Connection, engine: Engine) -> bool:
    revision = _revision(connection)
    if revision != HEAD and revision not in _OLDER:
        raise RefusedForSafety(
            f"The store {place(engine)} has schema {revision}, which this version of hitl-bridge does not know.",
            remedy="Use the newer version of hitl-bridge that wrote it.",
        )
    return revision == HEAD


def _revision(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection) -> None:
    # Alembic takes a while to load and is needed once in a database's life.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
