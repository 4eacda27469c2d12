"""A PostgreSQL that is stopped hard in the middle of writes (`pg_ctl stop -m immediate` is SIGQUIT), and started again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitl_bridge.adapters.sql.store import SqlStore, open_store
from hitl_bridge.core.model import ProjectId
from hitl_bridge.errors import StoreUnavailable
from tests.adapters.acknowledgements import written
from tests.adapters.acknowledging_writer import write
from tests.adapters.conftest import PostgresCluster, PostgresServer, postgres_cluster
from tests.adapters.store_examples import NOW, a_task, an_annotation, an_item

_SMALL = ("shared_buffers=16MB", "max_connections=20")
_SAFE = ("fsync=on", "synchronous_commit=on", *_SMALL)


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with postgres_cluster() as cluster:
        yield cluster


class _Writer(threading.Thread):
    """Writes on and on; what was refused is tried again, with the same key, until it is there."""

    def __init__(self, store: SqlStore) -> None:
        super().__init__()
        self.store = store
        self.acknowledged: list[int] = []
        self.refused: list[int] = []
        self.troubles: list[BaseException] = []
        self.stop = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            try:
                self._until_it_is_there(number)
            except BaseException as error:  # noqa: BLE001  (told to the thread that asserts)
                self.troubles.append(error)
                return

    def _until_it_is_there(self, number: int) -> None:
        while True:
            try:
                write(self.store, number)
            except StoreUnavailable:
                self.refused.append(number)
                time.sleep(0.05)
            else:
                self.acknowledged.append(number)
                return

    def wait_for(self, more: int) -> None:
        wanted, deadline = len(self.acknowledged) + more, time.monotonic() + 60
        while len(self.acknowledged) < wanted and self.is_alive():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.catalogue("C4")
def test_what_was_acknowledged_is_there_after_an_immediate_stop_and_the_unclear_one_is_written_once(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    with cluster.running(*_SAFE) as server:
        store = open_store(server.url("public"), tmp_path)
        writer = _Writer(store)
        writer.start()
        writer.wait_for(40)
    for _ in range(2):  # each `running` ends with SIGQUIT, in the midst of the writes
        with cluster.running(*_SAFE):
            writer.wait_for(40)
    with cluster.running(*_SAFE):
        writer.wait_for(20)
        writer.stop.set()
        writer.join(timeout=30)
        assert writer.troubles == []
        assert writer.refused  # the outages were noticed
        assert written(store) == set(writer.acknowledged) == set(range(1, len(writer.acknowledged) + 1))
        assert store.verify_audit({}).problems == ()
        store.close()


@pytest.mark.catalogue("C4")
def test_a_write_that_was_done_although_its_answer_was_lost_is_found_done_when_it_is_tried_again(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    with cluster.running(*_SAFE) as server:
        store = open_store(_fresh(server), tmp_path)
        revision = an_annotation(a_task(an_item()), 77)
        first = store.record_pull(ProjectId(7), [revision], "000000077", NOW)
        store.close()
        store = open_store(server.url("again"), tmp_path)  # as who never heard of the first
        assert (first, store.record_pull(ProjectId(7), [revision], "000000077", NOW)) == (1, 0)
        assert written(store) == {77}
        store.close()


def _fresh(server: PostgresServer) -> str:
    server.run("CREATE SCHEMA again")
    return server.url("again")
