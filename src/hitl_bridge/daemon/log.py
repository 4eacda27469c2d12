"""What the daemon says: one JSON object a line on standard error, with a stable `action`.

No token, no input text, no e-mail is ever in one: only counts, ids of projects, and sentences of the bridge's own errors.
"""

from __future__ import annotations

import logging
import sys

import structlog

Log = structlog.typing.WrappedLogger


def logger() -> Log:
    """Lines may be written by any thread."""
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.EventRenamer("action"),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )


def heed_libraries(log: Log) -> None:
    """Warnings of libraries become lines too. Only their template is told: what is filled in could be anything."""
    root = logging.getLogger()
    if not any(isinstance(handler, _Lines) for handler in root.handlers):
        root.addHandler(_Lines(log))


class _Lines(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        template = str(record.msg) if record.args else ""
        self._log.warning("daemon.library", library=record.name, template=template[:200])
