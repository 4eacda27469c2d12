"""How the daemon ends: when asked to, within ten seconds, whatever hangs; and when it is stuck.

Nothing is lost by being cut off. Each step writes its intent first and its outcome in one transaction, as for `kill -9`.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from hitl_bridge.adapters.processes import end_children
from hitl_bridge.daemon.log import Log
from hitl_bridge.services.keeping.health import Vitals

GRACE = 8.0
"""Seconds for the step in hand; with ending child processes it stays below ten."""

CHILDREN = 1.0

STUCK_AFTER = 900.0
"""Seconds without a sign of life of the loop. A step shows one with every batch, and no single request may take so long."""

_STUCK = 75


@contextmanager
def ending_in_time(stop: threading.Event, ask: Callable[[], None], log: Log, *, grace: float = GRACE) -> Iterator[None]:
    """Inside, SIGTERM and SIGINT ask the daemon to stop; if it has not stopped `grace` seconds later, it is ended: exit code 0.

    Only the main thread may say what a signal does; elsewhere (in tests) `stop` is set by the caller.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended = threading.Event()

    def see_it_through() -> None:
        stop.set()
        ask()
        if not ended.wait(grace):
            _cut_off(log, grace)

    def on_signal(number: int, frame: FrameType | None) -> None:
        # In a thread of its own: an Event that the main thread is just waiting for must not be touched in here.
        threading.Thread(target=see_it_through, name="ending", daemon=True).start()

    before = {name: signal.signal(name, on_signal) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        ended.set()
        for name, handler in before.items():
            signal.signal(name, handler)


def _cut_off(log: Log, grace: float) -> None:
    children = end_children(CHILDREN)
    log.warning("daemon.cut_off", after_seconds=grace, child_processes_ended=children)
    log.info("daemon.stopped")
    sys.stderr.flush()
    os._exit(0)


@contextmanager
def ended_if_stuck(vitals: Vitals, log: Log, *, after: float = STUCK_AFTER) -> Iterator[None]:
    """Ends the process (exit code 75, with the stacks of all threads) if its loop shows no sign of life.

    Its lease is renewed by another thread, so that without this a loop that hangs would keep the standby waiting for ever.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(after / 10):
            if vitals.seconds_since_sign() > after:
                log.error("daemon.stuck", seconds=round(vitals.seconds_since_sign()))
                faulthandler.dump_traceback(sys.stderr)
                end_children(CHILDREN)
                os._exit(_STUCK)

    thread = threading.Thread(target=watch, name="stuck", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
