"""Python's collector of cycles, told to leave alone for a while what is there already."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
