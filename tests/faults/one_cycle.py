"""Runs a workspace's scenario in a process that dies at a numbered point: `python -m tests.faults.one_cycle WORKSPACE`.

The points are before and after each effect: a transaction that writes, a request that changes something, a command of git or
DVC, a file put in its place; and in the middle of each command of DVC. `--count` lists them, `--die-at N` kills at the Nth.

    python -m tests.faults.one_cycle WORKSPACE [--count] [--die-at N] [--ahead SECONDS]
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import sqlalchemy
import sqlalchemy.event
from sqlalchemy import Engine

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.adapters.triage_engine.rules import DuckDbRules
from hitl_bridge.bootstrap import Bridge
from hitl_bridge.errors import OutsideUnavailable
from hitl_bridge.ports import LabelingService
from hitl_bridge.settings import load_settings
from tests.faults.people import Crowd
from tests.faults.workspaces import Scenario

MOST_CYCLES: Final = 15
CALM_CYCLES: Final = 2
CYCLE_SECONDS: Final = 61
"""The bridge's clock goes on by this much with each cycle."""

_ASKING: Final = frozenset(
    (
        *("rev-parse", "symbolic-ref", "ls-files", "ls-tree", "ls-remote", "var", "log", "cat-file", "for-each-ref", "show"),
        *("status", "diff", "diff-index", "config", "rev-list", "merge-base", "check-ref-format", "check-ignore", "version"),
        *("--version", "describe", "write-tree", "hash-object"),
    )
)
_WRITTEN: Final = re.compile(r"\s*(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM)\s+\"?(\w+)", re.IGNORECASE)
_SIGNS_OF_LIFE: Final = frozenset(("leases", "cursors"))
"""Tables of which a transaction of its own is no step: who is at work, and when something was looked at."""
_AMID_SECONDS: Final = 0.6
"""After so long a command of DVC is at work and most often not done."""


class Points:
    """Counts the points as they are passed, and dies at one of them.

    Only what the main thread does is counted: the signs of life of a lease come when they come.
    """

    def __init__(self, die_at: int = 0) -> None:
        self.names: list[str] = []
        self._die_at = die_at
        self._changed: set[str] = set()
        self._committed = ""

    def reached(self, name: str) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self._after_commit()
        self.names.append(name)
        if len(self.names) == self._die_at:
            die()

    def reached_amid(self, name: str) -> None:
        self.names.append(f"amid {name}")
        if len(self.names) == self._die_at:
            timer = threading.Timer(_AMID_SECONDS, die)
            timer.daemon = True
            timer.start()

    # ------------------------------------------------------------------------------------------------- the store

    def watch_store(self, engine: Engine) -> None:
        """Each transaction that changes something: before its COMMIT, and after it (noticed when the next thing happens)."""
        sqlalchemy.event.listen(engine, "after_cursor_execute", self._executed)
        sqlalchemy.event.listen(engine, "rollback", lambda _: self._changed.clear())
        sqlalchemy.event.listen(engine, "commit", self._committing)
        sqlalchemy.event.listen(engine, "begin", lambda _: self._after_commit())

    def _executed(self, connection: object, cursor: Any, statement: str, *_: object) -> None:
        written = _WRITTEN.match(statement)
        if written and cursor.rowcount and threading.current_thread() is threading.main_thread():
            self._changed.add(written[1])

    def _committing(self, connection: object) -> None:
        tables = ", ".join(sorted(self._changed)) if self._changed - _SIGNS_OF_LIFE else ""
        self._changed.clear()
        if tables:
            self.reached(f"before COMMIT of {tables}")
            self._committed = tables

    def _after_commit(self) -> None:
        tables, self._committed = self._committed, ""
        if tables:
            self.reached(f"after COMMIT of {tables}")

    # ------------------------------------------------------------------------------------- requests, commands, files

    def watch_session(self, session: requests.Session) -> None:
        """Each request that changes something: before it is sent, and when its answer is there."""
        send = session.request

        def counted(method: str, url: str, *arguments: Any, **named: Any) -> requests.Response:
            path = urlsplit(url).path
            if method == "GET" or "/token/" in path:
                return send(method, url, *arguments, **named)
            self.reached(f"before {method} {path}")
            answer = send(method, url, *arguments, **named)
            self.reached(f"after {method} {path}")
            return answer

        session.request = counted  # type: ignore[method-assign,assignment]

    def listen(self) -> None:
        """Commands and files, wherever the program starts or moves them."""
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            self._command([os.fsdecode(part) for part in arguments[1]])
        elif event == "os.rename":
            self.reached(f"before rename to {Path(os.fsdecode(arguments[1])).name}")

    def _command(self, command: list[str]) -> None:
        program = Path(command[0]).name
        words = [word for word in _without_options(command[1:]) if not word.startswith("-")]
        what = f"{program} {words[0] if words else ''}".strip()
        if program == "dvc":
            self.reached(f"before {what}")
            self.reached_amid(what)
        elif program == "git" and words and words[0] not in _ASKING:
            self.reached(f"before {what}")


def _without_options(words: list[str]) -> list[str]:
    """Without git's `-c name=value` pairs."""
    kept = list(words)
    while "-c" in kept:
        place = kept.index("-c")
        del kept[place : place + 2]
    return kept


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class LaterClock(SystemClock):
    """A clock that can be put forward."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = timedelta(seconds=ahead)

    def now(self) -> datetime:
        return super().now() + self.ahead

    def forward(self) -> None:
        """So far that what is unclear may be sent again."""
        self.ahead += timedelta(seconds=CYCLE_SECONDS)


class MortalBridge(Bridge):
    """A bridge whose effects pass `points`."""

    def __init__(self, root: Path, points: Points, clock: LaterClock) -> None:
        super().__init__(load_settings(root, rules=DuckDbRules()), labeling=None, clock=clock)
        self._points = points

    @cached_property
    def store(self) -> SqlStore:
        store: SqlStore = Bridge.store.func(self)  # type: ignore[attr-defined]
        self._points.watch_store(store.engine)
        return store

    @cached_property
    def labeling(self) -> LabelingService:
        labeling: LabelingService = Bridge.labeling.func(self)  # type: ignore[attr-defined]
        self._points.watch_session(self._client._session)
        return labeling


# ---------------------------------------------------------------------------------------------------- the scenario


def run(root: Path, points: Points, ahead: float = 0.0) -> None:
    """Takes in what there is, then one cycle after another, with people in between, until nothing happens any more."""
    scenario, clock = Scenario.load(root), LaterClock(ahead)
    crowd = Crowd(scenario.url, scenario.people) if scenario.people else None
    with MortalBridge(root, points, clock) as bridge:
        for source in scenario.inputs:
            bridge.ingest(source)
        calm = 0
        for _ in range(MOST_CYCLES):
            busy = cycle(bridge, commits=scenario.commits)
            answered = crowd.finish() if crowd else 0
            calm = 0 if busy or answered else calm + 1
            clock.forward()
            if calm == CALM_CYCLES:
                return
    raise AssertionError(f"After {MOST_CYCLES} cycles it was not quiet yet.")


def cycle(bridge: Bridge, *, commits: bool) -> bool:
    """One cycle; whether it did anything, or could not."""
    try:
        pushed, pulled = bridge.push(), bridge.pull()
        resolved, again = bridge.resolve(), bridge.push()
        version = bridge.commit().version if commits else None
    except OutsideUnavailable as away:
        print(f"away: {away.message}", file=sys.stderr)
        return True
    for trouble in (*pushed.troubles, *pulled.troubles, *again.troubles):
        print(f"trouble: {trouble.project}: {trouble.reason}", file=sys.stderr)
    did = (pushed.created, pushed.pending, pulled.revisions, pulled.tombstones, resolved.decisions, again.created, again.pending)
    return any(did) or version is not None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--count", action="store_true", help="print the points that were passed, one a line")
    parser.add_argument("--die-at", type=int, default=0, metavar="N", help="kill this process at its Nth point")
    parser.add_argument("--ahead", type=float, default=0.0, metavar="SECONDS", help="how far the clock is put forward")
    asked = parser.parse_args()
    points = Points(asked.die_at)
    points.listen()
    run(asked.workspace, points, asked.ahead)
    if asked.count:
        print("\n".join(points.names))
    return 0


if __name__ == "__main__":
    sys.exit(main())
