"""A process that answers predictions is killed: what it answered is there, once, whatever it was doing."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from hitl_bridge.bootstrap import open_bridge
from hitl_bridge.core.model import ItemState
from hitl_bridge.demo.labeling import free_port
from hitl_bridge.services.keeping.access import make_token
from tests.faults.killed_online import AFTER_ANSWER, AFTER_FILE, AFTER_RECORD, IN_RECORD
from tests.services.bench import Bench, clean_environment, row, without_git

ROOT = Path(__file__).parents[2]
COUNT = 12


def killed(workspace: Path, where: str) -> list[str]:
    """Runs the child until it kills itself; what it had printed by then."""
    command = [sys.executable, "-m", "tests.faults.killed_online", str(workspace), where, str(COUNT)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, env=clean_environment())
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.splitlines()


def kept(bench: Bench) -> list[str]:
    """The items in the files of receipts that count."""
    found: list[str] = []
    for file in bench.bridge.store.receipt_files():
        found += pq.read_table(bench.bridge.paths.receipts / file.path, columns=["item_id"])["item_id"].to_pylist()
    return sorted(found)


@pytest.mark.parametrize("where", [AFTER_FILE, IN_RECORD, AFTER_RECORD])
def test_what_was_answered_is_flushed_once_wherever_the_flush_is_killed(tmp_path: Path, where: str) -> None:
    workspace = without_git(tmp_path / "workspace")
    receipts = killed(workspace, AFTER_ANSWER)
    assert len(receipts) == COUNT
    assert not (workspace / ".hitl" / "receipts").exists()
    killed(workspace, where)
    assert len(list((workspace / ".hitl" / "receipts").glob("*.parquet"))) == 1
    with Bench(workspace).bridge as bridge:
        bridge.flush_online()
        assert bridge.flush_online() == 0
    bench = Bench(workspace)
    expected = sorted(f"t-{n}" for n in range(COUNT))
    assert kept(bench) == expected
    assert sorted(item.item_id for item in bench.bridge.store.items_in(ItemState.QUEUED)) == expected
    assert len(list((workspace / ".hitl" / "receipts").glob("*.parquet"))) == 1  # the same bytes under the same name
    told = [bench.bridge.trace(f"t-{n}")["receipts"] for n in range(COUNT)]
    assert told == [[json.loads(receipt)] for receipt in receipts]
    assert bench.bridge.store.verify_audit({}).problems == ()
    bench.bridge.close()


def test_kill_9_of_the_server_under_load_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    workspace = without_git(tmp_path / "workspace")
    with open_bridge(workspace) as bridge:
        token = make_token(bridge.access_tokens, bridge.clock, "pipeline", by="Ana").token
    answered, lock, port = list[str](), threading.Lock(), free_port()

    def ask(caller: int) -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=10) as client:
            for number in range(10_000):
                try:
                    answer = client.post(f"http://127.0.0.1:{port}/v1/predictions", json=row(f"{caller}-{number}"))
                except httpx.TransportError:
                    return
                if answer.status_code == httpx.codes.OK:
                    with lock:
                        answered.append(answer.json()["item_id"])

    with serving(workspace, port) as server:
        callers = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for caller in callers:
            caller.start()
        while len(answered) < 60:
            time.sleep(0.01)
        time.sleep(random.uniform(0.0, 0.3))
        server.kill()
        for caller in callers:
            caller.join()
    bench = Bench(workspace)
    waiting = bench.bridge.flush_online()
    found = kept(bench)
    assert len(found) == len(set(found)) == waiting
    assert set(answered) <= set(found)
    assert len(found) <= len(answered) + 6
    bench.bridge.close()


@contextmanager
def serving(workspace: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "hitl_bridge", "-C", str(workspace), "serve", "--listen", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stderr=subprocess.PIPE) as server:
        try:
            _wait_for(port, server)
            yield server
        finally:
            server.kill()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert server.poll() is None, server.stderr and server.stderr.read()
            time.sleep(0.1)
        else:
            return
    pytest.fail("the server did not start")
