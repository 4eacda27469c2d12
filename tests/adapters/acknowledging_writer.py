"""Run by tests: writes to a store and prints the number of each write after it was acknowledged, until it is killed, until
`count` writes are done, or until the store refuses; then prints `refused` and the kind of the error, and goes on trying if
told to (`again`)."""

from __future__ import annotations

import resource
import sys
from datetime import timedelta
from pathlib import Path

from hitl_bridge.adapters.sql.store import SqlStore, open_store
from hitl_bridge.core.model import ProjectId
from hitl_bridge.errors import OutsideUnavailable
from hitl_bridge.ports import Event
from tests.adapters.store_examples import NOW, a_task, an_annotation, an_item


def write(store: SqlStore, number: int) -> None:
    """One transaction of the kind that pull makes, with its cursor and events, or one event."""
    if number % 2:
        store.record_events([Event(NOW + timedelta(seconds=number), "tick", detail={"number": number, "text": "x" * 300})])
        return
    revision = an_annotation(a_task(an_item()), number)
    store.record_pull(ProjectId(7), [revision], f"{number:09}", NOW)


def main(url: str, root: str, first: int, count: int, most_bytes: int) -> None:
    store = open_store(url, Path(root))
    if most_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    print("ready", flush=True)
    for number in range(first, first + count):
        try:
            write(store, number)
        except OutsideUnavailable as refused:
            print("refused", type(refused).__name__, refused.message, flush=True)
            return
        print(number, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(int(argument) for argument in sys.argv[3:6]))
