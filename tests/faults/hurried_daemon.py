"""A daemon for which an hour passes in minutes: `python -m tests.faults.hurried_daemon WORKSPACE --born SECONDS`.

It is the daemon that users run, with a clock that goes `SPEED` times as fast and leases that end sooner, so that half a minute
is enough to see what waits, runs out and is taken over. All processes of a soak are told the same moment (`--born`, seconds since
the epoch) from which the clock is fast, so that they agree on the time.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hitl_bridge import daemon
from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.adapters.triage_engine.rules import DuckDbRules
from hitl_bridge.bootstrap import Bridge
from hitl_bridge.settings import load_settings

if TYPE_CHECKING:
    from hitl_bridge.services.keeping.leases import LeaseTerms

SPEED: Final = 30.0
LEASE_SECONDS: Final = 2.0


class HurriedClock(SystemClock):
    """Fast in what it says, not in how long it sleeps: leases are waited for by the true time."""

    def __init__(self, born: float) -> None:
        self._born = datetime.fromtimestamp(born, UTC)

    def now(self) -> datetime:
        return self._born + SPEED * (super().now() - self._born)


class HurriedBridge(Bridge):
    @cached_property
    def _lease_terms(self) -> LeaseTerms:
        terms: LeaseTerms = Bridge._lease_terms.func(self)  # type: ignore[attr-defined]
        return replace(terms, ttl=LEASE_SECONDS)

    def twin(self) -> Bridge:
        return HurriedBridge(self.settings, labeling=None, clock=self.clock)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--born", type=float, required=True)
    asked = parser.parse_args()
    settings = load_settings(asked.workspace, rules=DuckDbRules())
    with HurriedBridge(settings, labeling=None, clock=HurriedClock(asked.born)) as bridge:
        daemon.run(bridge, every=0.3, commit_every=1.0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
