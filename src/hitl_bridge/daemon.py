"""The loop: one cycle after another, until told to stop."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING

import structlog

from hitl_bridge.errors import OutsideUnavailable

if TYPE_CHECKING:
    from hitl_bridge.bootstrap import Bridge

_LONGEST_PAUSE = 300.0


def run(bridge: Bridge, *, every: float, stop: threading.Event | None = None) -> None:
    """Runs cycles `every` seconds until SIGTERM, SIGINT or `stop`. The cycle in hand is finished first.

    While an outside system is away the pause doubles, up to five minutes. The trouble of one project is a warning, and the
    others go on. Anything else that needs a person ends the loop with its error: going on would only hide it.
    """
    log = _logger()
    stop = stop or threading.Event()
    _stop_on_signal(stop)
    log.info("daemon.started", every=every)
    away = 0
    while not stop.is_set():
        try:
            result = bridge.sync()
        except OutsideUnavailable as error:
            away += 1
            pause = min(every * 2**away, _LONGEST_PAUSE)
            log.warning("daemon.outside_away", reason=error.message, tries=away, next_in=pause)
        else:
            if away:
                log.info("daemon.outside_back", after_tries=away)
            away, pause = 0, every
            for each in result.troubles:
                log.warning("daemon.trouble", project=each.project, reason=each.reason, remedy=each.remedy)
            log.info(
                "daemon.cycle",
                pushed=result.push.created + result.next_rounds.created,
                revisions=result.pull.revisions,
                quarantined=result.pull.quarantined,
                lost=result.pull.lost,
                decisions=result.resolve.decisions,
                asked_again=result.resolve.asked_again,
                version=result.commit.version,
            )
        stop.wait(pause)
    log.info("daemon.stopped")


def _logger() -> structlog.typing.WrappedLogger:
    """One JSON object a line on standard error, with a stable event name. No token, no text of an item is ever in one."""
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )


def _stop_on_signal(stop: threading.Event) -> None:
    """Only the main thread may say what a signal does; elsewhere (in tests) `stop` is set by the caller."""
    if threading.current_thread() is not threading.main_thread():
        return

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, ask_to_stop)
