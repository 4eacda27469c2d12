"""The command line: arguments → one service call → a table for people or JSON for programs.

Only typer is imported here; every command imports what it needs when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys

from hitl_bridge.cli.app import app
from hitl_bridge.errors import BridgeError

__all__ = ["app", "main"]

_INTERRUPTED = 130


def main() -> None:
    """Runs the command line. Turns every BridgeError into one paragraph and its exit code."""
    try:
        app()
    except BridgeError as error:
        _explain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. What was begun is finished by running the command again.\n")
        sys.exit(_INTERRUPTED)


def _explain(error: BridgeError) -> None:
    sys.stderr.write(f"{error.message}\n")
    if error.remedy:
        sys.stderr.write(f"→ {error.remedy}\n")
