"""What was acknowledged is there, whatever becomes of the process, the disk or the neighbours."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hitl_bridge.adapters.sql.engine import reading, writing
from hitl_bridge.adapters.sql.store import SqlStore, open_store
from hitl_bridge.adapters.sql.tables import events
from hitl_bridge.core.model import ItemState
from hitl_bridge.ports import Event
from tests.adapters.acknowledgements import read_until_killed, written
from tests.adapters.store_examples import NOW, an_item, ingest

ROOT = Path(__file__).parents[2]


def writer(url: str, root: Path, first: int, count: int = 10**6, most_bytes: int = 0) -> list[str]:
    numbers = [str(number) for number in (first, count, most_bytes)]
    return [sys.executable, "-m", "tests.adapters.acknowledging_writer", url, str(root), *numbers]


def is_sound(store: SqlStore) -> bool:
    return store.verify_audit({}).problems == ()


class StoreCrashes:
    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.mark.catalogue("C1")
    def test_whatever_a_writer_was_told_is_there_after_kill_9(self, url: str, store: SqlStore, tmp_path: Path) -> None:
        acknowledged: set[int] = set()
        for kills in range(4):
            acknowledged |= read_until_killed(writer(url, tmp_path, kills * 10**6), ROOT, after=15 + 20 * kills)
            there = written(store)
            assert acknowledged <= there
            assert len(there - acknowledged) <= kills + 1  # written, and killed before it could say so
        assert len(acknowledged) >= 60
        assert is_sound(store)

    @pytest.mark.catalogue("C3")
    def test_writers_in_processes_and_readers_with_old_snapshots_never_hear_that_it_is_busy(
        self, url: str, store: SqlStore, tmp_path: Path
    ) -> None:
        ingest(store, an_item())
        troubles: list[BaseException] = []
        done = threading.Event()

        def read() -> None:
            try:
                with reading(store.engine) as connection:
                    before = connection.execute(events.select()).all()
                    while not done.wait(0.01):
                        assert len(store.items_in(ItemState.QUEUED)) == 1
                    assert connection.execute(events.select()).all() == before  # the same moment still
            except BaseException as error:  # noqa: BLE001  (told to the thread that asserts)
                troubles.append(error)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        commands = [writer(url, tmp_path, number * 1000, 40) for number in range(3)]
        processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for command in commands]
        said = [process.communicate(timeout=60)[0] for process in processes]
        done.set()
        for reader in readers:
            reader.join(timeout=20)
        assert troubles == []
        assert "refused" not in "".join(said)
        assert len(written(store)) == 120
        assert is_sound(store)

    @pytest.mark.catalogue("C3")
    def test_a_transaction_that_writes_says_so_when_it_begins_so_that_no_reader_turns_into_a_writer(
        self, store: SqlStore
    ) -> None:
        order: list[str] = []

        def second() -> None:
            with writing(store.engine) as connection:
                order.append("second")
                connection.execute(events.select()).all()

        with writing(store.engine) as connection:
            connection.execute(events.select()).all()  # a read alone, and the other one waits all the same
            thread = threading.Thread(target=second)
            thread.start()
            time.sleep(0.3)
            order.append("first")
        thread.join(timeout=20)
        assert order == ["first", "second"]


class TestPostgresql(StoreCrashes):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url


class TestSqlite(StoreCrashes):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return "sqlite:///.hitl/bridge.db"

    @pytest.mark.catalogue("C1")
    def test_each_commit_waits_for_the_disk_once(self, url: str, store: SqlStore, tmp_path: Path) -> None:
        _refuse_without_strace()
        subprocess.run(writer(url, tmp_path, 900, 1), cwd=ROOT, capture_output=True, check=True)  # a new log waits once more
        few, many = (_waits_for_the_log(writer(url, tmp_path, first, count), tmp_path) for first, count in ((0, 5), (100, 30)))
        assert many - few == 25

    @pytest.mark.catalogue("C2")
    def test_when_files_may_not_grow_nothing_is_acknowledged_that_is_not_there(
        self, url: str, store: SqlStore, tmp_path: Path
    ) -> None:
        done = subprocess.run(
            writer(url, tmp_path, 0, most_bytes=900_000), cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
        )
        _refused_and_sound(done.stdout, store)

    @pytest.mark.catalogue("C2")
    def test_when_the_disk_is_full_nothing_is_acknowledged_that_is_not_there(self, small_disk: Path) -> None:
        url = "sqlite:///bridge.db"
        store = open_store(url, small_disk)
        done = subprocess.run(writer(url, small_disk, 0), cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], capture_output=True, check=True)
        _refused_and_sound(done.stdout, store)
        store.close()

    @pytest.mark.catalogue("C2")
    def test_when_the_disk_answers_with_an_error_nothing_is_acknowledged_that_is_not_there(
        self, url: str, store: SqlStore, tmp_path: Path
    ) -> None:
        _refuse_without_strace()
        store.close()
        inject = ["strace", "-f", "-q", "-o", os.devnull, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=20+"]
        done = subprocess.run(
            [*inject, *writer(url, tmp_path, 0, 200)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
        )
        _refused_and_sound(done.stdout, open_store(url, tmp_path))

    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        """A file system of 4 MB, where the tests may mount one."""
        place = tmp_path / "small"
        place.mkdir()
        mounted = shutil.which("mount") and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, check=False
        )
        if not mounted or mounted.returncode:
            pytest.skip("no file system may be mounted here; the limit on file sizes stands in for it")
        try:
            yield place
        finally:
            subprocess.run(["umount", "-l", str(place)], check=False)


def _refused_and_sound(said: str, store: SqlStore) -> None:
    lines = said.splitlines()
    acknowledged = {int(line) for line in lines if line.isdigit()}
    assert len(acknowledged) >= 10
    assert [line.split()[1] for line in lines if line.startswith("refused")] == ["StoreUnavailable"]
    there = written(store)
    assert acknowledged <= there
    assert len(there) <= len(acknowledged) + 1
    assert is_sound(store)
    with closing(sqlite3.connect(str(store.engine.url.database))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.record_events([Event(NOW, "room again")])  # and it can be written to once there is room


def _waits_for_the_log(command: list[str], tmp_path: Path) -> int:
    """How often the process waited until the write-ahead log was on the disk."""
    trace = tmp_path / "trace"
    options = ["-f", "-q", "-y", "-o", str(trace), "-e", "trace=fsync,fdatasync"]
    subprocess.run(["strace", *options, *command], cwd=ROOT, capture_output=True, timeout=120, check=True)
    return len(re.findall(r"sync\(\d+<[^>]*bridge\.db-wal>\)", trace.read_text()))


def _refuse_without_strace() -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    if subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
