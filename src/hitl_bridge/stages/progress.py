"""What a long stage says while it works: one line at a time on standard error, which `dvc repro` and `retrain` pass on."""

from __future__ import annotations

import sys
import time

_EVERY = 5.0
"""Seconds between two lines about the same work."""


class Progress:
    """Tells how far a piece of work is, at most every few seconds; silent where it is over before that."""

    def __init__(self, doing: str, total: int) -> None:
        self._doing = doing
        self._total = total
        self._told = time.monotonic()

    def reached(self, done: int) -> None:
        """`done` of the total is done."""
        if time.monotonic() - self._told >= _EVERY:
            self._told = time.monotonic()
            sys.stderr.write(f"{self._doing}: {done:,} of {self._total:,}\n")
            sys.stderr.flush()
