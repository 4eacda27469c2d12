"""Run by a test: makes a store of the first schema, with something in it, and brings it up to date again and again, killed
(SIGKILL) at one statement after the other. Prints how many statements there are.

    python -m tests.adapters.killed_in_migration URL FOLDER
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, event

import hitl_bridge.adapters.sql
from hitl_bridge.adapters.sql import migrate
from hitl_bridge.adapters.sql.engine import _WRITES, make_engine, reading, writing

BEFORE = "0001"
_THINGS = (
    "INSERT INTO batches VALUES ('b-1', 'p.jsonl', 'ab', 1, 1, 0, 0, '{}', 0, 1, '2026-11-22T10:00:00.000000Z')",
    "INSERT INTO annotations (project_id, task_id, annotation_id, push_key, created_at, updated_at, reviewer, updated_by, state, "
    "result, reason, recorded_at) VALUES (7, 70, 700, 'k', 'c', 'u', 'ana', 'ana', 'answer', '[]', '', "
    "'2026-11-22T10:00:00.000000Z')",
    "INSERT INTO events (at, action, detail, fingerprint) VALUES ('2026-11-22T10:00:00.000000Z', 'cycle', '{}', 'f-1')",
    "INSERT INTO cursors (project_id, position, at) VALUES (7, 'u', '2026-11-22T10:00:00.000000Z')",
)


def make_old_store(url: str, root: Path) -> None:
    folder = Path(next(iter(hitl_bridge.adapters.sql.__path__))) / "migrations"
    engine = make_engine(url, root)
    with writing(engine) as connection:
        config = Config()
        config.set_main_option("script_location", str(folder))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, BEFORE)
        for statement in _THINGS:
            connection.execute(sa.text(statement))
    engine.dispose()


def contents(engine: Engine) -> tuple[object, ...]:
    """What was put in, as it is now, and the schema's number."""
    with reading(engine) as connection:
        return (
            connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one(),
            *connection.execute(sa.text("SELECT batch_id FROM batches")).all(),
            *connection.execute(sa.text("SELECT annotation_id, state FROM annotations")).all(),
            *connection.execute(sa.text("SELECT action FROM events")).all(),
            *connection.execute(sa.text("SELECT project_id, position FROM cursors")).all(),
        )


def statements(url: str, root: Path) -> int:
    """How many a whole run has: counted in one that is killed at its end, which leaves everything as it was."""
    told = root / "statements"
    assert was_killed(url, root, sys.maxsize, told)
    return int(told.read_text())


def was_killed(url: str, root: Path, kill_at: int, told: Path | None = None) -> bool:
    """A run in a process of its own. With `told` it writes down how many statements it had, and dies before it commits."""
    child = os.fork()
    if child == 0:
        engine = make_engine(url, root)
        count = 0

        @event.listens_for(engine, "after_cursor_execute")
        def _kill(*_: object) -> None:
            nonlocal count
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        @event.listens_for(engine, "commit")
        def _tell(connection: sa.Connection) -> None:
            if told is not None and connection.get_execution_options().get(_WRITES):
                told.write_text(str(count))
                os.kill(os.getpid(), signal.SIGKILL)

        migrate.bring_up_to_date(engine)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main(url: str, root: Path) -> None:
    make_old_store(url, root)
    engine = make_engine(url, root)
    before = contents(engine)
    engine.dispose()
    there = statements(url, root)
    for number in range(1, there + 1):
        assert was_killed(url, root, number), f"there is no statement {number} any more"
        assert contents(engine) == before, f"after statement {number}"
        engine.dispose()
    print(there)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
