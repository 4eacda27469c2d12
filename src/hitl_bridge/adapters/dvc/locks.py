"""The locks in a DVC workspace: ours, which spans a whole commit, and DVC's own two, which hold for single commands.

`.dvc/tmp/lock` is held by a `dvc` command for as long as it works, but for the time in which `dvc repro` runs a stage;
`.dvc/tmp/rwlock` says meanwhile which paths it reads and writes.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.adapters.leftovers import is_at_work
from hitl_bridge.errors import OutsideUnavailable

_PAUSE = 0.1  # seconds between two tries for a lock
_PATIENCE = 3.0  # seconds; as long as DVC itself waits for its lock
_GUARD_PATIENCE = 3.0  # seconds; DVC holds its guard for milliseconds


@contextmanager
def as_dvc_would(root: Path, directories: Collection[str]) -> Iterator[None]:
    """Holds the lock that a `dvc` command would hold while it writes `directories` (from `root`).

    Raises OutsideUnavailable where a `dvc` is at work on them.
    """
    held = root / ".dvc" / "tmp" / "lock"
    held.parent.mkdir(exist_ok=True)
    with held.open("a") as lock:
        if not flock(lock.fileno(), _PATIENCE):
            raise _busy(root, "the workspace")
        used = [path for path in _used_by_others(root) if any(_overlap(path, root / each) for each in directories)]
        if used:
            raise _busy(root, str(used[0]))
        yield


def _busy(root: Path, what: str) -> OutsideUnavailable:
    return OutsideUnavailable(
        f"A `dvc` command is using {what} in {root}.", remedy="Run the same command again when it has finished."
    )


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def flock(descriptor: int, patience: float) -> bool:
    """Whether the lock on the open file was had within `patience` seconds."""
    clock = SystemClock()
    for _ in range(int(patience / _PAUSE) + 1):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            clock.sleep(_PAUSE)
        else:
            return True
    return False


def set_rwlock_aside(root: Path) -> None:
    """`.dvc/tmp/rwlock` names who locked what. DVC rewrites it in place; killed in between, every later command fails on its
    broken JSON. And DVC believes it as long as a process of that number lives, whichever that is.

    We look at it under the guard that DVC itself takes for rewriting (`rwlock.lock`), so that what is broken then stays so.
    One that a DVC process in this working tree wrote is left alone.
    """
    rwlock = root / ".dvc" / "tmp" / "rwlock"
    if not rwlock.exists():
        return
    with rwlock.with_suffix(".lock").open("a") as guard:
        if not flock(guard.fileno(), _GUARD_PATIENCE) or not rwlock.exists():
            return
        holders = _holders(rwlock.read_bytes())
        since = rwlock.stat().st_mtime
        if holders is None or (holders and not any(is_at_work(pid, since, root) for _, pid in holders)):
            rwlock.replace(rwlock.with_suffix(".torn"))


def is_locked_by_others(root: Path) -> bool:
    """Whether a DVC that is not ours is at work in the working tree."""
    return bool(_used_by_others(root))


def _used_by_others(root: Path) -> list[Path]:
    """What a DVC that is at work in the working tree reads and writes."""
    rwlock = root / ".dvc" / "tmp" / "rwlock"
    if not rwlock.exists():
        return []
    since = rwlock.stat().st_mtime
    return [Path(path) for path, pid in _holders(rwlock.read_bytes()) or () if is_at_work(pid, since, root)]


def _holders(content: bytes) -> list[tuple[str, int]] | None:
    """Paths that a `rwlock` names, each with the number of a process that holds it; None if it is broken."""
    try:
        locked = json.loads(content)
        writers = [(path, each) for path, each in locked.get("write", {}).items()]
        readers = [(path, each) for path, some in locked.get("read", {}).items() for each in some]
        return [(path, int(each["pid"])) for path, each in (*writers, *readers) if each]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
