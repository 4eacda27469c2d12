"""What killed git and DVC processes leave behind, and when it is safe to clear it away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.errors import OutsideUnavailable

STALE_AFTER = 10.0
"""Seconds after which a lock file that no process holds open was left by a killed git: a living one renames it at once."""

_TEMPORARY_AFTER = 3.0  # seconds; DVC holds its temporary files open, but for the moment in which it renames them
_TEMPORARY = re.compile(r"\.[A-Za-z0-9_-]{22}\.tmp")
_PAUSE = 0.2


def clear_git_locks(git_dir: Path, *, stale_after: float = STALE_AFTER) -> list[Path]:
    """Removes left-over `*.lock` files of a repository that is ours alone, waiting for those that are fresh.

    Only under our lock. Raises OutsideUnavailable where a living process holds one; returns what was removed.
    """
    clock = SystemClock()
    removed = []
    for lock in _git_locks(git_dir):
        while lock.exists() and (_age(lock, clock) < stale_after or _is_open(lock)):
            if _age(lock, clock) >= 2 * stale_after:
                raise OutsideUnavailable(
                    f"A git process that was left over still works in {git_dir}: it holds {lock.name}.",
                    remedy="Run the same command again when it has ended.",
                )
            clock.sleep(_PAUSE)
        if lock.exists():
            lock.unlink()
            removed.append(lock)
    return removed


def clear_temporary_files(cache: Path, *, stale_after: float = _TEMPORARY_AFTER) -> bool:
    """Removes the temporary files that a killed `dvc` left in the cache; False where some stay that may still be in use."""
    clock = SystemClock()
    found = [path for place in ("", "files/md5/*/", "*/") for path in cache.glob(f"{place}.*.tmp") if is_temporary(path)]
    alive = [path for path in found if _age(path, clock) < stale_after or _is_open(path)]
    for path in set(found) - set(alive):
        path.unlink(missing_ok=True)
    return not alive


def is_temporary(path: Path) -> bool:
    """Whether it is named like a file that DVC is still writing."""
    return _TEMPORARY.fullmatch(path.name) is not None


def is_at_work(pid: int, since: float, workspace: Path) -> bool:
    """Whether process `pid`, which is said to have locked something of DVC's in `workspace` by the time `since` (seconds
    since 1970), can be the one that did: it lives, was there by then, and has to do with DVC. The number of a dead process
    is given to others; in a container it is 1 time and again.
    """
    try:
        process = psutil.Process(pid)
        if process.create_time() > since + 1.0 or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return any("dvc" in word for word in process.cmdline()) or _holds_open(process, workspace / ".dvc")
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True  # somebody else's: nothing can be said


def _git_locks(git_dir: Path) -> Iterable[Path]:
    return [*git_dir.glob("*.lock"), *(git_dir / "refs").rglob("*.lock")]


def _age(path: Path, clock: SystemClock) -> float:
    try:
        return clock.now().timestamp() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _is_open(path: Path) -> bool:
    return any(_holds_open(process, path) for process in _processes())


def _processes() -> Iterator[psutil.Process]:
    yield from psutil.process_iter()


def _holds_open(process: psutil.Process, path: Path) -> bool:
    """Whether it has `path`, or something below it, open; of other users' processes nothing is known."""
    with suppress(psutil.Error, OSError):
        return any(Path(file.path).is_relative_to(path.absolute()) for file in process.open_files())
    return False
