"""Python's lock, passed on sooner between threads that have much to do outside of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TURN = 0.0001
"""Seconds. Python's own interval is fifty times as long."""


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
