"""One way to open a database and two ways to use it: `reading` and `writing`.

Both databases behave alike: a reading transaction sees one moment, and there is one writing transaction at a time, for which
the next one waits (SQLite: BEGIN IMMEDIATE; PostgreSQL: an advisory lock), so that no method has to think of another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.util import LRUCache

from hitl_bridge.errors import BridgeError, StoreUnavailable, UsageError

PATIENCE = 30.0
"""Seconds that a writer waits for the one before it."""

_WRITES = "hitl_writes"
_WRITER_LOCK = 0x68_69_74_6C  # "hitl": the key of the advisory lock, per database


def make_engine(url: str, root: Path, *, patience: float = PATIENCE) -> Engine:
    """The engine for `url`, not yet connected; a relative SQLite path starts at `root`.

    Raises UsageError for a URL that is no database the bridge can use.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed, root, patience)
    return _postgresql_engine(parsed, patience)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one moment and writes nothing."""
    options: dict[str, Any] = {}
    if engine.dialect.name == "postgresql":
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with _translated(engine), engine.execution_options(**options).begin() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """The one writing transaction; commits at the end, rolls back on any exception."""
    with _translated(engine), engine.execution_options(**{_WRITES: True}).begin() as connection:
        yield connection


def place(engine: Engine) -> str:
    """Where the database is, without its password."""
    return engine.url.render_as_string(hide_password=True)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _bad_url("The store's URL can't be read.") from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise _bad_url(f"The store can't be a {parsed.drivername!r} database.")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise _bad_url("The store has to be a file: one in memory would forget everything.")
    return parsed


def _bad_url(message: str) -> UsageError:
    return UsageError(message, remedy="Write `store: sqlite:///.hitl/bridge.db` or `store: postgresql+psycopg://…` in hitl.yaml.")


class _Compiled(LRUCache[Any, Any]):
    """Statements as text, kept for all engines of this process: to compile one takes longer than to carry it out.

    SQLAlchemy asks for them by the dialect's object, of which each engine has its own; those of one kind of database say the
    same.
    """

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get(_by_kind(key), default)

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        super().__setitem__(_by_kind(key), compiled)


def _by_kind(key: tuple[Any, ...]) -> tuple[Any, ...]:
    dialect, *statement = key
    return (type(dialect), dialect.server_version_info, *statement)


_OPTIONS: Mapping[str, Any] = {"hide_parameters": True, "execution_options": {"compiled_cache": _Compiled(1000)}}


def _sqlite_engine(url: URL, root: Path, patience: float) -> Engine:
    path = root / str(url.database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # It holds input texts. SQLite gives its -wal and -shm files the same mode.
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"The database {path} can't be opened: {error.strerror}.", remedy=_REMEDY_FILE) from error
    engine = sa.create_engine(url.set(database=str(path)), connect_args={"timeout": patience}, **_OPTIONS)

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        # The driver begins transactions by itself, too late and not around DDL: switched off, we begin them below.
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql_engine(url: URL, patience: float) -> Engine:
    # A crashed machine's open transaction must not hold the lock for ever; TCP notices only after hours.
    settings = {"lock_timeout": int(patience * 1000), "idle_in_transaction_session_timeout": 600_000}
    try:
        engine = sa.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10}, **_OPTIONS)
    except ModuleNotFoundError as error:
        raise UsageError("PostgreSQL needs the package psycopg.", remedy="Run `pip install 'hitl-bridge[postgres]'`.") from error

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        for name, value in settings.items():
            connection.execute(f"SET {name} = {value}")
        connection.commit()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get(_WRITES):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")

    return engine


_REMEDY_FILE = "Check that the folder exists, that you may write there and that the disk is not full."
_REMEDY_BUSY = "Another process is writing (a second daemon?): wait for it or stop it, then run the command again."
_REMEDY_POSTGRESQL = "Check that PostgreSQL runs and that `store` in hitl.yaml is right, then run the command again."
_REMEDY_DAMAGED = "It is damaged or no database: put it aside and restore your last backup."


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    """Foreign errors become ours at this border and nowhere else."""
    try:
        yield
    except (IntegrityError, DataError) as error:
        raise UsageError(
            f"The store {place(engine)} can't take this: {_first_line(error)}.",
            remedy="Nothing of this step was written. Run `hitl-bridge doctor`; if that finds nothing, this is a bug to report.",
        ) from error
    except OverflowError as error:
        raise UsageError("A number is too large for the store.", remedy="Ids have to fit into 64 bits.") from error
    except ProgrammingError:
        raise
    except (DBAPIError, PoolTimeout) as error:
        remedy = _remedy(engine, error)
        raise StoreUnavailable(f"The store {place(engine)} is not available: {_first_line(error)}.", remedy=remedy) from error
    except StatementError as error:
        # A column type of ours refused a value; SQLAlchemy wrapped what it raised.
        if isinstance(error.orig, BridgeError):
            raise error.orig from None
        raise


def _first_line(error: SQLAlchemyError) -> str:
    # Of the driver's message only the head line: the next ones ("DETAIL: …") can quote values.
    cause = error.orig if isinstance(error, DBAPIError) else error
    lines = str(cause).splitlines() or [type(cause).__name__]
    return lines[0].rstrip(".")


def _remedy(engine: Engine, error: SQLAlchemyError) -> str:
    text = _first_line(error)
    if "locked" in text or "lock timeout" in text or isinstance(error, PoolTimeout):
        return _REMEDY_BUSY
    if engine.dialect.name == "postgresql":
        return _REMEDY_POSTGRESQL
    return _REMEDY_DAMAGED if "not a database" in text or "malformed" in text else _REMEDY_FILE
