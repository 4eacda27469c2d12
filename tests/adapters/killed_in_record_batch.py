"""Run by a test: records the same batch again and again, killed (SIGKILL) at its first, second, … statement, until one run
ends by itself. Prints how many runs were killed."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from sqlalchemy import event

from hitl_bridge.adapters.sql.store import open_store
from hitl_bridge.core.model import BatchId
from hitl_bridge.ports import ReceiptFile
from tests.adapters.store_examples import a_batch, an_item


def record(url: str, root: Path, kill_at: int) -> None:
    store = open_store(url, root)
    count = 0

    @event.listens_for(store.engine, "after_cursor_execute")
    def _kill(*_: object) -> None:
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    items = [replace(an_item(f"t-{number}"), batch_id=BatchId("b-1")) for number in range(30)]
    store.record_batch(a_batch(), ReceiptFile("receipts/b-1.parquet", "cd" * 32, 10), items)


def was_killed(url: str, root: Path, kill_at: int) -> bool:
    child = os.fork()
    if child == 0:
        record(url, root, kill_at)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main() -> None:
    url, root = sys.argv[1], Path(sys.argv[2])
    killed = 0
    while was_killed(url, root, killed + 1):
        killed += 1
        store = open_store(url, root)
        assert store.batch(BatchId("b-1")) is None
        assert store.receipt_files() == []
        store.close()
    print(killed)


main()
