"""Ctrl-C: the first ends in order what is under way, the second ends the process as it stands."""

from __future__ import annotations

import atexit
import os
import signal
from types import FrameType, TracebackType
from typing import Self

from hitl_bridge.errors import BridgeError

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

_CHILDREN = 1.0
"""Seconds in which child processes may end by themselves."""

_CURSOR = b"\x1b[?25h"
"""Shows the cursor, which a progress bar has hidden."""


class Stopped(BridgeError):
    """Somebody pressed Ctrl-C."""

    exit_code = INTERRUPTED

    def __init__(self, words: str = "") -> None:
        super().__init__("\n" + (words or "Stopped. What was begun is finished by running the command again."))


class CtrlC:
    """From `with` on the first Ctrl-C is a KeyboardInterrupt: whatever is open is closed on its way. Who presses it once more
    does not want to wait for that; the process ends at once then, which is as safe as `kill -9`. Where the signal is ignored, as
    under `nohup`, it stays so."""

    def __init__(self) -> None:
        self.pressed = False
        self.told = False

    def __enter__(self) -> Self:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._first)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Once pressed it lasts: Python itself still waits for threads before it ends."""
        if signal.getsignal(signal.SIGINT) == self._first:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _first(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        signal.signal(signal.SIGINT, self._again)
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # nothing is left to wait for then
        raise KeyboardInterrupt

    def _again(self, number: int, frame: FrameType | None) -> None:
        from hitl_bridge.adapters.processes import end_children

        try:
            words = b"" if self.told else f"{Stopped().message}\n".encode()
            os.write(2, (_CURSOR if os.isatty(2) else b"") + words)
            end_children(_CHILDREN)
        finally:
            os._exit(INTERRUPTED)
