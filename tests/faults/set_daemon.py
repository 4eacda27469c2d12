"""A daemon whose clock is set: `python -m tests.faults.set_daemon WORKSPACE`. The file `.hitl/clock-set-forward` holds by how
many seconds; it is read whenever somebody asks what time it is, so that a test turns a week in seconds while the daemon runs.

It is the daemon that users run, with leases that end sooner.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

from hitl_bridge import daemon
from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.adapters.triage_engine.rules import DuckDbRules
from hitl_bridge.settings import load_settings
from tests.faults.hurried_daemon import HurriedBridge

FILE = Path(".hitl") / "clock-set-forward"


class SetClock(SystemClock):
    def __init__(self, root: Path) -> None:
        self._file = root / FILE

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=float(self._file.read_text()))


def set_clock(root: Path, seconds: float) -> None:
    """Whole or not at all: the daemon may be reading."""
    beside = root / f"{FILE}.new"
    beside.write_text(str(seconds))
    beside.replace(root / FILE)


def main() -> int:
    root = Path(sys.argv[1])
    settings = load_settings(root, rules=DuckDbRules())
    with HurriedBridge(settings, labeling=None, clock=SetClock(root)) as bridge:
        daemon.run(bridge, every=0.1, commit_every=60.0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
