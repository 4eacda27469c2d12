"""Ends what this process has started, when it has to end itself."""

from __future__ import annotations

from collections.abc import Callable

import psutil


def end_children(seconds: float) -> int:
    """Asks every descendant to end, and kills what is still there after `seconds`. Returns how many there were."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        _quietly(child.terminate)
    _, stubborn = psutil.wait_procs(children, timeout=seconds)
    for child in stubborn:
        _quietly(child.kill)
    return len(children)


def _quietly(end: Callable[[], None]) -> None:
    """A process that is gone already is no trouble."""
    try:
        end()
    except psutil.NoSuchProcess:
        return
