"""Backups are whole, made while others write, and read back before they count; on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge.adapters.sql.store import SqlStore, open_store
from hitl_bridge.errors import OutsideUnavailable, RefusedForSafety, UsageError
from hitl_bridge.services.keeping.backup import BackupResult, back_up, notes_of, verify
from tests.adapters.acknowledgements import written
from tests.adapters.conftest import PostgresServer, postgres_programs
from tests.adapters.store_examples import an_item, answered_review, ingest

ROOT = Path(__file__).parents[2]
PATH = os.environ["PATH"]


class Noon:
    def now(self) -> datetime:
        return datetime(2026, 11, 22, 12, tzinfo=UTC)

    def sleep(self, seconds: float) -> None:
        raise AssertionError


def saved(store: SqlStore, target: Path) -> BackupResult:
    return back_up(store.backups(), Noon(), target)


@contextmanager
def somebody_writes(url: str, root: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.adapters.acknowledging_writer", url, str(root), "0", "1000000", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "20":
                break
        try:
            yield
        finally:
            process.kill()


class StoreBackups:
    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def programs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", f"{postgres_programs()}{os.pathsep}{PATH}")

    @pytest.mark.catalogue("C8")
    def test_a_backup_under_load_is_one_moment_of_the_store(self, url: str, store: SqlStore, tmp_path: Path) -> None:
        with somebody_writes(url, tmp_path):
            before = store.audit_head().seq
            results = [saved(store, tmp_path / f"{number}{store.backups().suffix()}") for number in range(3)]
            after = store.audit_head().seq
        seen = [result.audit_seq for result in results]
        assert before <= seen[0] <= seen[1] <= seen[2] <= after
        assert seen[0] < seen[2]  # it was written to meanwhile
        for result in results:
            assert verify(store.backups(), result.file) == result
            assert result.rows["events"] == result.audit_seq

    def test_a_backup_is_its_owner_s_alone_and_nothing_is_left_beside_it(self, store: SqlStore, tmp_path: Path) -> None:
        answered_review(store, an_item())
        result = saved(store, tmp_path / "kept" / f"b{store.backups().suffix()}")
        assert {each.name for each in result.file.parent.iterdir()} == {result.file.name, result.notes.name}
        assert {each.stat().st_mode & 0o777 for each in result.file.parent.iterdir()} == {0o600}
        noted = json.loads(result.notes.read_bytes())
        assert (noted["sha256"], noted["audit_seq"], noted["schema"]) == (result.sha256, result.audit_seq, result.schema)
        assert noted["rows"]["annotations"] == 1

    def test_a_backup_takes_the_place_of_no_other(self, store: SqlStore, tmp_path: Path) -> None:
        result = saved(store, tmp_path / "b")
        content = result.file.read_bytes()
        with pytest.raises(UsageError, match="is there already"):
            saved(store, tmp_path / "b")
        assert result.file.read_bytes() == content

    def test_a_folder_that_can_not_be_written_is_told_and_leaves_nothing(self, store: SqlStore, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(OutsideUnavailable, match="can't be written"):
            saved(store, tmp_path / "file" / "b")
        assert [each.name for each in tmp_path.iterdir() if "partial" in each.name] == []

    @pytest.mark.parametrize("harm", ["one byte", "cut", "other notes", "no notes"])
    def test_a_backup_that_was_damaged_is_found_out(self, store: SqlStore, tmp_path: Path, harm: str) -> None:
        answered_review(store, an_item())
        file = saved(store, tmp_path / "b").file
        content = file.read_bytes()
        if harm == "one byte":
            file.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
        elif harm == "cut":
            file.write_bytes(content[:-1])
        elif harm == "other notes":
            noted = json.loads(notes_of(file).read_bytes())
            notes_of(file).write_text(json.dumps({**noted, "audit_seq": noted["audit_seq"] + 1}))
        else:
            notes_of(file).unlink()
        with pytest.raises(UsageError if harm == "no notes" else RefusedForSafety):
            verify(store.backups(), file)


class TestSqlite(StoreBackups):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return "sqlite:///.hitl/bridge.db"

    @pytest.mark.catalogue("C8")
    def test_a_backup_is_one_file_that_takes_the_database_s_place(self, url: str, store: SqlStore, tmp_path: Path) -> None:
        ingest(store, an_item())
        result = saved(store, tmp_path / "b.db")
        store.close()
        restored = tmp_path / "restored"
        (restored / ".hitl").mkdir(parents=True)
        shutil.copy(result.file, restored / ".hitl" / "bridge.db")
        again = open_store(url, restored)
        assert len(again.items_in(an_item().state)) == 1
        assert (again.audit_head().seq, again.verify_audit({}).problems) == (result.audit_seq, ())
        again.close()

    def test_a_damaged_page_is_found_although_the_notes_fit(self, store: SqlStore, tmp_path: Path) -> None:
        ingest(store, *(an_item(f"t-{number}") for number in range(200)))
        result = saved(store, tmp_path / "b.db")
        content = bytearray(result.file.read_bytes())
        content[3 * 4096 : 3 * 4096 + 100] = bytes(100)
        result.file.write_bytes(content)
        with pytest.raises(RefusedForSafety, match="is damaged"):
            store.backups().look_into(result.file)

    def test_a_database_that_is_damaged_gives_no_backup(self, store: SqlStore, tmp_path: Path) -> None:
        ingest(store, *(an_item(f"t-{number}") for number in range(200)))
        path = str(store.engine.url.database)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_items_due'").fetchone()[0]
        store.close()
        with Path(path).open("r+b") as database:
            database.seek((page - 1) * 4096)
            database.write(bytes(64))
        with pytest.raises((RefusedForSafety, OutsideUnavailable)):
            saved(store, tmp_path / "b.db")
        assert not (tmp_path / "b.db").exists()


class TestPostgresql(StoreBackups):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url

    @pytest.mark.catalogue("C8")
    def test_a_dump_restores_into_an_empty_database(
        self, url: str, store: SqlStore, postgres: PostgresServer, tmp_path: Path
    ) -> None:
        answered_review(store, an_item())
        result = saved(store, tmp_path / "b.dump")
        before = written(store)
        schema = url.rpartition("%3D")[2]
        store.close()
        postgres.run(f"DROP SCHEMA {schema} CASCADE")
        reach: dict[str, Any] = {"env": {**os.environ, "PGHOST": str(postgres.socket_dir), "PGUSER": "postgres"}}
        command = [str(postgres_programs() / "pg_restore"), "--exit-on-error", "--dbname=postgres", str(result.file)]
        subprocess.run(command, check=True, capture_output=True, **reach)
        again = open_store(url, tmp_path)
        assert (written(again), again.audit_head().seq) == (before, result.audit_seq)
        assert again.verify_audit({}).problems == ()
        again.close()

    def test_without_pg_dump_it_is_said_what_to_run(
        self, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(UsageError, match="pg_dump") as caught:
            saved(store, tmp_path / "b.dump")
        assert "pg_dump --format=custom" in caught.value.remedy
        assert not (tmp_path / "b.dump").exists()
