"""Allocators, told to keep freed memory for the next batch instead of giving it back and asking for it again."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of glibc's `mallopt` (malloc.h)."""

_KEPT, _USUALLY = 512 * 1024 * 1024, 128 * 1024
"""Bytes at the end of an arena that are not given back, here and by glibc's own default."""

_LARGEST = 4 * 1024 * 1024
"""Bytes. Larger arrays are mapped by themselves: there are few of them, and they would leave the largest holes."""


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """While it lasts, freed memory stays with the process; after it, it is given back.

    Batches are alike: each takes what the one before has freed. Having those pages mapped anew, and filled with noughts, costs
    triage a tenth to a fifth of its processor time (docs/benchmarks.md). It holds for numpy's arrays where there is glibc, and
    for Arrow's where Arrow comes with jemalloc, which keeps them for a second.
    """
    with _by_arrow(), _by_the_c_library():
        yield


@contextmanager
def _by_the_c_library() -> Iterator[None]:
    library = ctypes.CDLL(None)
    mallopt = getattr(library, "mallopt", None)
    if mallopt is None:
        yield
        return
    for parameter, value in ((_MMAP_THRESHOLD, _LARGEST), (_TRIM_THRESHOLD, _KEPT), (_ARENA_MAX, 2)):
        mallopt(parameter, value)
    try:
        yield
    finally:
        mallopt(_TRIM_THRESHOLD, _USUALLY)
        library.malloc_trim(0)


@contextmanager
def _by_arrow() -> Iterator[None]:
    import pyarrow as pa

    if "jemalloc" not in pa.supported_memory_backends():
        yield
        return
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.jemalloc_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)
