"""The command line: arguments → one service call → a table for people or JSON for programs.

Every command imports what it needs when it runs, so that `--help` answers at once. The program itself is imported where Ctrl-C is
heeded already.
"""

from __future__ import annotations

import io
import sys

from hitl_bridge.cli.stopping import CtrlC, Stopped
from hitl_bridge.errors import BridgeError

__all__ = ["main"]


def main() -> None:
    """Runs the command line. Turns every BridgeError into one paragraph and its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as for errors: a terminal of few characters is told all the same
    with CtrlC() as ctrl_c:
        try:
            _run()
        except BaseException as ended:  # noqa: BLE001 (raised again unless it is an end)
            sys.exit(_code(ended, ctrl_c))


def _run() -> None:
    from hitl_bridge.cli.app import app
    from hitl_bridge.cli.wording import worded

    worded(app)()


def _code(ended: BaseException, ctrl_c: CtrlC) -> int:
    """The exit code, once all that was said has arrived. After Ctrl-C whatever comes up is its doing: a child process that the
    terminal ended, too, a query that was broken off."""
    from hitl_bridge.cli.ending import written_out

    if ctrl_c.pressed and not isinstance(ended, Stopped):
        ended = Stopped()
    if isinstance(ended, SystemExit):
        return written_out(ended.code if isinstance(ended.code, int) else 0)
    if not isinstance(ended, BridgeError):
        raise ended
    ctrl_c.told = True
    _explain(ended)
    return written_out(ended.exit_code)


def _explain(error: BridgeError) -> None:
    sys.stderr.write(f"{error.message}\n")
    if error.remedy:
        sys.stderr.write(f"→ {error.remedy}\n")
