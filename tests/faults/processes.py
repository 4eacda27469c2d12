"""Daemons that are killed, stopped and started again, and ingests that are cut off."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.live.command_line import CommandLine, environment

_PROGRAM: Final = str(Path(sys.executable).parent / "hitl-bridge")
_REPOSITORY: Final = str(Path(__file__).parents[2])


@dataclass
class Daemon:
    """One of the daemons of a workspace. What it says goes to the end of `log`; an end of its own will is written down."""

    name: str
    root: Path
    log: Path
    command: Sequence[str]
    wrong: list[str] = field(default_factory=list)
    wakes_at: float | None = None
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as heard:
            self._process = subprocess.Popen(self.command, cwd=self.root, env=_environment(), stderr=heard, stdout=heard)

    def look_after(self) -> None:
        """Wakes it if it slept long enough, and starts it again if it has ended."""
        if self.wakes_at is not None and time.monotonic() >= self.wakes_at:
            self.signal(signal.SIGCONT)
            self.wakes_at = None
        if self._process is not None and self._process.poll() is not None:
            self.wrong.append(f"Daemon {self.name} ended by itself ({self._process.returncode}): {self.last_words()}")
            self.start()

    def kill(self) -> None:
        """SIGKILL; also to one that sleeps."""
        self.wakes_at = None
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGKILL)
            self._process.wait()
        self._process = None

    def sleep(self, seconds: float) -> None:
        """SIGSTOP; `look_after` wakes it."""
        self.signal(signal.SIGSTOP)
        self.wakes_at = time.monotonic() + seconds

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def last_words(self) -> str:
        return " / ".join(self.log.read_text("utf-8", errors="replace").splitlines()[-4:])[:1500]


@dataclass
class Ingester:
    """Takes files in by the command line, now and then with a kill in the middle, each until it is taken in."""

    root: Path
    counts: Counter[str]
    wrong: list[str] = field(default_factory=list)

    def take_in(self, source: Path, chance: random.Random) -> None:
        for _ in range(10):
            after = chance.uniform(0.3, 3.0) if chance.random() < 0.3 else None
            code, said = self._run(source, after)
            if code in (0, 1):  # 1: done, with problem rows listed
                return
            if code not in (3, -signal.SIGKILL):
                self.wrong.append(f"ingest ended with {code}: {said}")
                return
        self.wrong.append(f"{source.name} could not be taken in.")

    def _run(self, source: Path, kill_after: float | None) -> tuple[int, str]:
        command = [_PROGRAM, "ingest", str(source)]
        with subprocess.Popen(
            command, cwd=self.root, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                said, _ = process.communicate(timeout=kill_after)
            except subprocess.TimeoutExpired:
                process.kill()
                said, _ = process.communicate()
                self.counts["ingests killed"] += 1
        return process.returncode, said.decode(errors="replace")[-800:]


def _environment() -> dict[str, str]:
    """With the repository among the places where Python looks: the hurried daemon is one of its tests."""
    known = environment()
    return known | {"PYTHONPATH": os.pathsep.join(filter(None, [known.get("PYTHONPATH"), _REPOSITORY]))}


def true_daemon(root: Path) -> list[str]:
    """The daemon as a user starts it."""
    return [_PROGRAM, "daemon"]


def hurried_daemon(root: Path, born: float) -> list[str]:
    return [sys.executable, "-m", "tests.faults.hurried_daemon", str(root), "--born", str(born)]


def commits_so_far(root: Path) -> int:
    return len(CommandLine(root).git("tag", "--list", "decisions@*").split())
