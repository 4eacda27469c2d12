"""The command line as a user has it, in a process of its own: the installed program, or, for the commands that tests run by the
dozen, a fork that has imported the program already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.forks import forked

_BESIDE_PYTHON = Path(sys.executable).parent
_SECONDS = 300
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
        """Runs the program, as a fork; `more` are environment variables."""
        with tempfile.TemporaryDirectory(prefix="hitl-said-") as folder:
            process = forked(_program, arguments, self.root, {**self.variables, **more}, Path(folder))
            process.join(_SECONDS)
            code = process.exitcode
            if code is None:
                process.kill()
                raise subprocess.TimeoutExpired(arguments, _SECONDS)
            process.close()
            return Said(code, *((Path(folder) / name).read_text("utf-8") for name in _STREAMS))

    def installed(self, *arguments: str) -> Said:
        """Runs the program as it is installed, from nothing."""
        return self._run([str(_BESIDE_PYTHON / "hitl-bridge"), *arguments], self.variables)

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
            command, cwd=self.root, env=dict(variables), capture_output=True, text=True, check=False, timeout=_SECONDS
        )
        return Said(done.returncode, done.stdout, done.stderr)


def _good(said: Said, arguments: tuple[str, ...]) -> str:
    assert said.code == 0, f"{' '.join(arguments)} ended with {said.code}:\n{said.out}\n{said.err}"
    return said.out


_STREAMS = ("stdout", "stderr")


def _program(arguments: Sequence[str], root: Path, variables: Mapping[str, str], folder: Path) -> None:
    """In the fork: becomes the program."""
    from hitl_bridge.cli import main

    os.chdir(root)
    os.environ.clear()
    os.environ.update(variables)
    for number, name in enumerate(_STREAMS, 1):  # for its children, too
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["hitl-bridge", *arguments]
    main()
