"""The command line, run in this process: arguments in, exit code and both outputs out."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge.cli import main
from tests.services.bench import QUICK, row, with_git, without_git, write_rows


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Fails unless the whole of standard output is one document."""
        return json.loads(self.out)

    def explains_itself(self) -> bool:
        """A message and a remedy on standard error, and no traceback."""
        return "Traceback" not in self.err + self.out and "\n→ " in self.err


Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def no_settings_of_the_bridge_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HITL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["hitl-bridge", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 0
        else:
            code = 0
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Without git, and we are in it; `in.jsonl` has two items that people should see."""
    root = without_git(tmp_path / "workspace")
    write_rows(root / "in.jsonl", [row("t-1", QUICK), row("t-2", QUICK)])
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def git_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for kind in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{kind}_NAME", "Ana")
        monkeypatch.setenv(f"GIT_{kind}_EMAIL", "ana@example.com")
    root = with_git(tmp_path / "workspace")
    monkeypatch.chdir(root)
    return root
