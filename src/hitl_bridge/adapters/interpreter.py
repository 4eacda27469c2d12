"""Python itself, told to get out of the way of long work: its collector of cycles, and its lock."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TURN = 0.0001
"""Seconds. Python's own interval is fifty times as long."""


@contextmanager
def older_objects_left_alone() -> Iterator[None]:
    """While it lasts, only what is made meanwhile is searched for cycles.

    Thousands of new items make the collector go through all objects of the process again and again, most of them those of
    imported modules, none of them garbage: a third of the time before the first task is sent (docs/benchmarks.md).
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def short_turns() -> Iterator[None]:
    """While it lasts, a thread that runs Python hands the lock on after a tenth of a millisecond where another waits for it.

    The threads of a long ingest take the lock for a moment between two calls that go without it. Who has just given it up
    for a tiny call (a statement to SQLite, a slice) otherwise waits five milliseconds to have it back (docs/benchmarks.md).
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
