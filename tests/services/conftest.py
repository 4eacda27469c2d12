"""Workspaces for the tests of the services."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.bench import Bench, with_git, without_git


@pytest.fixture(autouse=True)
def no_settings_of_the_bridge_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HITL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Everything up to `commit`, which needs git and DVC."""
    bench = Bench(without_git(tmp_path / "workspace"))
    yield bench
    bench.bridge.close()


@pytest.fixture(scope="session")
def git_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: starting DVC takes a second."""
    with pytest.MonkeyPatch.context() as environment:
        for kind in ("AUTHOR", "COMMITTER"):
            environment.setenv(f"GIT_{kind}_NAME", "Ana")
            environment.setenv(f"GIT_{kind}_EMAIL", "ana@example.com")
        return with_git(tmp_path_factory.mktemp("template") / "workspace")


@pytest.fixture
def git_workspace(git_template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(git_template, tmp_path / "workspace")


@pytest.fixture
def whole_bench(git_workspace: Path) -> Iterator[Bench]:
    """With git and DVC."""
    bench = Bench(git_workspace)
    yield bench
    bench.bridge.close()
