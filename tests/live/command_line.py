"""The command line as a user has it: the installed program, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BESIDE_PYTHON = Path(sys.executable).parent
_PERSON = {"NAME": "Ada Operator", "EMAIL": "ada@example.com"}


def environment(**more: str) -> dict[str, str]:
    """This machine's, with a git identity, and without what a developer may have set for a workspace of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HITL_") or name == "HITL_CACHE_DIR"}
    person = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in _PERSON.items()}
    return {**kept, **person, "DVC_NO_ANALYTICS": "1", **more}


@dataclass(frozen=True, slots=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class CommandLine:
    """`hitl-bridge`, `git` and `dvc` in the folder `root`."""

    root: Path
    variables: Mapping[str, str] = field(default_factory=environment)

    def bridge(self, *arguments: str, **more: str) -> Said:
        """Runs the program; `more` are environment variables."""
        return self._run([str(_BESIDE_PYTHON / "hitl-bridge"), *arguments], {**self.variables, **more})

    def said(self, *arguments: str) -> str:
        """What a command prints; it must end with exit code 0."""
        return _good(self.bridge(*arguments), arguments)

    def told(self, *arguments: str) -> Any:
        """What a command tells programs (`--json`)."""
        return json.loads(self.said(*arguments, "--json"))

    def git(self, *arguments: str) -> str:
        return _good(self._run(["git", *arguments], self.variables), arguments).strip()

    def dvc(self, *arguments: str) -> str:
        return _good(self._run([str(_BESIDE_PYTHON / "dvc"), *arguments], self.variables), arguments)

    def start(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Starts the program and leaves it running; what it says on standard error goes into `log`."""
        with log.open("wb") as heard:
            return subprocess.Popen(
                [str(_BESIDE_PYTHON / "hitl-bridge"), *arguments], cwd=self.root, env=dict(self.variables), stderr=heard
            )

    def _run(self, command: list[str], variables: Mapping[str, str]) -> Said:
        done = subprocess.run(
            command, cwd=self.root, env=dict(variables), capture_output=True, text=True, check=False, timeout=300
        )
        return Said(done.returncode, done.stdout, done.stderr)


def _good(said: Said, arguments: tuple[str, ...]) -> str:
    assert said.code == 0, f"{' '.join(arguments)} ended with {said.code}:\n{said.out}\n{said.err}"
    return said.out
