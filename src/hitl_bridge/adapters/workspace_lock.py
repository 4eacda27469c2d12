"""One bridge at work in a workspace at a time: a lock on a file that the system releases when the process dies."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hitl_bridge.errors import OutsideUnavailable

_TRY_EVERY = 0.2


@contextmanager
def workspace_lock(path: Path, *, wait: float = 60.0) -> Iterator[None]:
    """Holds `path` alone. Raises OutsideUnavailable after `wait` seconds: another process is pushing or committing."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    until = time.monotonic() + wait
    with path.open("a") as handle:
        while not _taken(handle.fileno()):
            if time.monotonic() > until:
                raise OutsideUnavailable(
                    f"Another hitl-bridge has been at work in {path.parent.parent} for more than {wait:.0f} s.",
                    remedy="Wait for it, or stop the daemon first. Nothing was changed.",
                )
            time.sleep(_TRY_EVERY)
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
