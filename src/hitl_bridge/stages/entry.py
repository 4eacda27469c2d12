"""How a stage starts and ends: in the workspace's root, with one paragraph and an exit code if something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from hitl_bridge.errors import BridgeError


def run_stage(stage: Callable[[Path], str]) -> None:
    """Runs `stage` on the current folder, prints the sentence it returns, and exits; errors become their exit code."""
    try:
        sys.stdout.write(stage(Path.cwd()) + "\n")
    except BridgeError as error:
        sys.stderr.write("\n".join(part for part in (error.message, error.remedy) if part) + "\n")
        sys.exit(error.exit_code)
