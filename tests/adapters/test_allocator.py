"""Freed memory stays with the process for as long as a long work needs it."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hitl_bridge.adapters.allocator import freed_memory_kept

pytestmark = pytest.mark.skipif(
    not (hasattr(ctypes.CDLL(None), "mallopt") and Path("/proc/self/statm").exists()), reason="needs Linux with glibc"
)
_BYTES = 300 * 1024 * 1024
_EACH = 1024 * 1024


def test_what_is_freed_stays_until_the_end_and_is_given_back_then() -> None:
    with freed_memory_kept():
        before = _resident()
        arrays = [np.ones(_EACH, np.uint8) for _ in range(_BYTES // _EACH)]
        del arrays
        kept = _resident() - before
    left = _resident() - before
    assert kept > _BYTES * 0.8
    assert left < _BYTES * 0.2


def _resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_arrow_takes_its_memory_from_jemalloc_meanwhile_and_from_where_it_did_afterwards() -> None:
    if "jemalloc" not in pa.supported_memory_backends():
        pytest.skip("this Arrow comes without jemalloc")
    before = pa.default_memory_pool().backend_name
    with freed_memory_kept():
        assert pa.default_memory_pool().backend_name == "jemalloc"
    assert pa.default_memory_pool().backend_name == before
