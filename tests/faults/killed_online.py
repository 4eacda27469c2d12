"""Run by tests: answers predictions, or flushes them, and is killed (SIGKILL, by itself) at the place named."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hitl_bridge.adapters.sql.online import SqlOnline
from hitl_bridge.bootstrap import Bridge
from hitl_bridge.core.model import Item, ItemId, Prediction
from hitl_bridge.ports import Batch, ReceiptFile
from hitl_bridge.services.intake.online import flush
from tests.services.bench import Bench

AFTER_ANSWER, AFTER_FILE, AFTER_RECORD, IN_RECORD = "after_answer", "after_file", "after_record", "in_record"


def predictions(count: int) -> list[Prediction]:
    return [
        Prediction(
            item_id=ItemId(f"t-{n}"),
            input={"text": f"the words of t-{n}"},
            output={"label": "refund"},
            confidence=0.5 + n / 100,
            model_version="m1",
        )
        for n in range(count)
    ]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly(SqlOnline):
    """Dies before, in the middle of, or after the transaction that records a flush."""

    where = AFTER_FILE

    def record_flush(self, batch: Batch, receipts: ReceiptFile, items: Sequence[Item], up_to: int) -> None:
        if self.where == AFTER_FILE:
            die()
        if self.where == IN_RECORD:
            self._fenced = _dying(self._fenced)
        super().record_flush(batch, receipts, items, up_to)
        die()


def _dying(writing: Any) -> Any:
    from contextlib import contextmanager

    @contextmanager
    def transaction() -> Any:
        with writing() as connection:
            yield connection
            die()

    return transaction


def flushed(bridge: Bridge, where: str) -> None:
    online = Deadly(bridge.store.engine, bridge.store._writing)
    online.where = where
    with bridge._alone():
        flush(replace(bridge._flush_ports, store=online))


def main(root: str, where: str, count: int) -> None:
    with Bench(Path(root)).bridge as bridge:
        if where == AFTER_ANSWER:
            for prediction in predictions(count):
                print(bridge.triage(prediction).receipt, flush=True)  # type: ignore[union-attr]
            die()
        flushed(bridge, where)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
