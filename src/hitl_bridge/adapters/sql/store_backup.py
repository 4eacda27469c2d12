"""Copies of the store, made while others write to it, and read through before they count.

SQLite: its online backup API (https://www.sqlite.org/backup.html), all pages in one step, inside the reading transaction in
which the rows were counted: the copy is that one moment, whoever writes meanwhile. PostgreSQL: `pg_dump` on an exported
snapshot, for the same reason.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from hitl_bridge.adapters.sql import audit_log
from hitl_bridge.adapters.sql.copies import copy_pages, make_durable
from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.tables import cursors, events, meta, metadata
from hitl_bridge.core.model import ProjectId
from hitl_bridge.errors import RefusedForSafety, StoreUnavailable, UsageError
from hitl_bridge.ports import AuditHead, StoreCounts

_REVISION = "SELECT version_num FROM alembic_version"
_NEWEST_EVENT = "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1"
_MINUTES_15 = 900


def counts(connection: Connection) -> StoreCounts:
    """What the store holds at the moment that the connection's transaction sees."""
    rows = {
        table.name: int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
        for table in metadata.sorted_tables
    }
    revision = connection.execute(sa.text(_REVISION)).scalar_one()
    return StoreCounts(str(revision), audit_log.head(connection), rows)


def knows(connection: Connection, head: AuditHead) -> bool:
    if head.seq == 0:
        return True
    return connection.execute(sa.select(events.c.hash).where(events.c.seq == head.seq)).scalar() == head.hash


def remembered(connection: Connection, name: str) -> str | None:
    found = connection.execute(sa.select(meta.c.value).where(meta.c.name == name)).scalar()
    return None if found is None else str(found)


def forget_cursor(connection: Connection, project_id: ProjectId) -> None:
    connection.execute(sa.update(cursors).where(cursors.c.project_id == project_id).values(position=None, swept_at=None))


class SqliteBackups:
    """Implements `ports.Backups`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def suffix(self) -> str:
        return ".db"

    def copy(self, target: Path) -> StoreCounts:
        with reading(self._engine) as connection:
            held = counts(connection)
            source = connection.connection.driver_connection
            assert isinstance(source, sqlite3.Connection)  # noqa: S101  (the engine's dialect)
            copy_pages(source, target)
        make_durable(target)
        return held

    def look_into(self, copy: Path) -> StoreCounts:
        try:
            with closing(_opened_unchanging(copy)) as connection:
                found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
                if found != ["ok"]:
                    raise _damaged(copy, found[0])
                revision = connection.execute(_REVISION).fetchone()[0]
                head = connection.execute(_NEWEST_EVENT).fetchone() or (0, audit_log.GENESIS.hash)
                rows = {name: _count(connection, name) for name in metadata.tables}
        except sqlite3.Error as error:
            raise _damaged(copy, str(error)) from error
        return StoreCounts(revision, AuditHead(*head), dict(sorted(rows.items())))


def _opened_unchanging(copy: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f'SELECT COUNT(*) FROM "{table}"').fetchone()[0])  # noqa: S608  (a name of ours)


class PostgresBackups:
    """Implements `ports.Backups` by PostgreSQL's own programs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def suffix(self) -> str:
        return ".dump"

    def copy(self, target: Path) -> StoreCounts:
        program = self._program("pg_dump")
        with reading(self._engine) as connection:
            held = counts(connection)
            snapshot = connection.execute(sa.text("SELECT pg_export_snapshot()")).scalar_one()
            schema = connection.execute(sa.text("SELECT current_schema()")).scalar_one()
            wanted = ("--format=custom", f"--snapshot={snapshot}", f"--schema={schema}", f"--file={target}")
            _run([program, *wanted], self._environment(), "pg_dump")
        make_durable(target)
        return held

    def look_into(self, copy: Path) -> StoreCounts:
        """Counts the rows in the dump itself: no server is needed for that."""
        command = [self._program("pg_restore"), "--data-only", "--file=-", str(copy)]
        rows, newest, revision = dict.fromkeys(metadata.tables, 0), audit_log.GENESIS, ""
        with _streamed(command, copy) as lines:
            for table, values in _copied_rows(lines):
                rows[table] = rows.get(table, 0) + 1
                if table == "events":
                    newest = max(newest, AuditHead(int(values["seq"]), values["hash"]), key=lambda head: head.seq)
                elif table == "alembic_version":
                    revision = values["version_num"]
        rows.pop("alembic_version", None)
        return StoreCounts(revision, newest, dict(sorted(rows.items())))

    def _program(self, name: str) -> str:
        found = shutil.which(name)
        if found is None:
            url = self._engine.url
            raise UsageError(
                f"A backup of a PostgreSQL store is made with {name}, which is not on this machine.",
                remedy=f"Install PostgreSQL's client programs, or run where they are: pg_dump --format=custom --file=bridge.dump "
                f"--host={url.host or url.query.get('host', '')} --username={url.username or ''} {url.database or ''}",
            )
        return found

    def _environment(self) -> dict[str, str]:
        """How to reach the server. Never as arguments, which every user of the machine can read."""
        url = self._engine.url
        known = {
            "PGHOST": url.host or url.query.get("host"),
            "PGPORT": url.port,
            "PGUSER": url.username,
            "PGPASSWORD": url.password,
            "PGDATABASE": url.database,
            "PGOPTIONS": url.query.get("options"),
            "PGSSLMODE": url.query.get("sslmode"),
            "PGSSLROOTCERT": url.query.get("sslrootcert"),
        }
        given = {name: str(value) for name, value in known.items() if value is not None}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "HITL_"))}
        return {**inherited, **given}


def _run(command: list[str], environment: Mapping[str, str], name: str) -> None:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_MINUTES_15, check=False
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise StoreUnavailable(
            f"{name} could not make the backup: {lines[-1] if lines else f'it ended with {done.returncode}'}",
            remedy=f"Use the {name} of the server's version (it can be newer, not older) and run the command again.",
        )


@contextmanager
def _streamed(command: list[str], copy: Path) -> Iterator[Iterator[str]]:
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101  (asked for above)
        yield iter(process.stdout)
        said = process.stderr.read() if process.stderr else ""
        if process.wait():
            raise _damaged(copy, (said.splitlines() or ["pg_restore can't read it"])[-1])


def _copied_rows(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row of each `COPY schema.table (columns) FROM stdin;` block, up to its `\\.`, as the dump writes it."""
    for line in lines:
        if not line.startswith("COPY "):
            continue
        name, _, rest = line.removeprefix("COPY ").partition(" (")
        columns = [column.strip(' "') for column in rest.partition(")")[0].split(",")]
        table = name.rpartition(".")[2].strip('"')
        for row in lines:
            if row == "\\.\n":
                break
            yield table, dict(zip(columns, row.rstrip("\n").split("\t"), strict=False))


def _damaged(copy: Path, what: str) -> RefusedForSafety:
    return RefusedForSafety(f"The backup {copy} is damaged: {what}.", remedy="Take another one; this one can't be trusted.")


def backups(engine: Engine) -> SqliteBackups | PostgresBackups:
    """Of the store behind `engine`."""
    kinds: dict[str, Any] = {"sqlite": SqliteBackups, "postgresql": PostgresBackups}
    made: SqliteBackups | PostgresBackups = kinds[engine.dialect.name](engine)
    return made
