"""A migration that is interrupted leaves the store as it was; the next one finishes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hitl_bridge.adapters.sql import migrate
from hitl_bridge.adapters.sql.store import open_store
from hitl_bridge.ports import Event
from tests.adapters.killed_in_migration import BEFORE, contents, make_old_store
from tests.adapters.store_examples import NOW

ROOT = Path(__file__).parents[2]


class StoreMigrations:
    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.mark.catalogue("C7")
    def test_a_migration_killed_at_any_statement_leaves_the_store_as_it_was_and_the_next_one_ends_it(
        self, url: str, tmp_path: Path
    ) -> None:
        command = [sys.executable, "-m", "tests.adapters.killed_in_migration", url, str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) >= 30
        store = open_store(url, tmp_path)
        assert contents(store.engine)[:3] == (migrate.HEAD, ("b-1",), (700, "answer"))
        assert store.verify_audit({}).problems == ()
        store.record_events([Event(NOW, "cycle")])
        store.close()


class TestPostgresql(StoreMigrations):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url


class TestSqlite(StoreMigrations):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return "sqlite:///.hitl/bridge.db"

    @pytest.mark.catalogue("C7")
    def test_before_a_migration_the_database_is_copied_and_the_copy_can_take_its_place(self, url: str, tmp_path: Path) -> None:
        make_old_store(url, tmp_path)
        open_store(url, tmp_path).close()
        database = tmp_path / ".hitl" / "bridge.db"
        copy = tmp_path / ".hitl" / f"bridge.db.before-{migrate.HEAD}"
        assert copy.stat().st_mode & 0o077 == 0
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (BEFORE,)
            assert connection.execute("SELECT action FROM events").fetchall() == [("cycle",)]
        for each in database.parent.glob("bridge.db-*"):
            each.unlink()
        copy.replace(database)  # as the operator goes back, and forward again
        store = open_store(url, tmp_path)
        assert contents(store.engine)[0] == migrate.HEAD
        store.close()

    def test_a_new_database_has_nothing_to_copy(self, url: str, tmp_path: Path) -> None:
        open_store(url, tmp_path).close()
        assert [each.name for each in (tmp_path / ".hitl").iterdir() if "before" in each.name] == []
