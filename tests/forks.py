"""Processes forked from one that has imported everything already: a new process costs ten milliseconds, not a second of imports.

One such ancestor serves all the tests of a run, whatever they start.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any, Final

_FORKS: Final = multiprocessing.get_context("forkserver")


def forked(target: Callable[..., object], *arguments: Any) -> multiprocessing.process.BaseProcess:
    """Starts `target` in a process of its own. It has the environment of the ancestor: what matters has to be handed over."""
    _FORKS.set_forkserver_preload(["tests.imported_once"])
    process = _FORKS.Process(target=target, args=arguments)
    process.start()
    return process
