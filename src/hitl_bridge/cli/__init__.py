"""The command line: arguments → one service call → a table for people or JSON for programs.

Only typer is imported here; every command imports what it needs when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import sys

from hitl_bridge.cli.app import app
from hitl_bridge.cli.ending import written_out
from hitl_bridge.cli.wording import worded
from hitl_bridge.errors import BridgeError

__all__ = ["app", "main"]


def main() -> None:
    """Runs the command line. Turns every BridgeError into one paragraph and its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as for errors: a terminal of few characters is told all the same
    try:
        worded(app)()
    except BridgeError as error:
        _explain(error)
        sys.exit(written_out(error.exit_code))
    except SystemExit as ended:
        sys.exit(written_out(ended.code if isinstance(ended.code, int) else 0))


def _explain(error: BridgeError) -> None:
    sys.stderr.write(f"{error.message}\n")
    if error.remedy:
        sys.stderr.write(f"→ {error.remedy}\n")
