"""Small real workspaces (git + DVC) for the tests of the adapters that commit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hitl_bridge.adapters.dvc.dataset import DvcDatasetStore
from hitl_bridge.ports import NewFile

BRANCH = "reviews"
DVC = Path(sys.executable).parent / "dvc"

# A `git` that kills its caller just before, or just after, it does the step named in KILL_AT.
_DEADLY_GIT = """#!/bin/sh
for word in "$@"; do
  if [ "$word" = "$KILL_AT" ]; then
    if [ "$KILL_WHEN" = after ]; then "$REAL_GIT" "$@"; fi
    kill -9 "$PPID"; exit 1
  fi
done
exec "$REAL_GIT" "$@"
"""
_PUBLISH = """
import sys
from pathlib import Path
from hitl_bridge.adapters.dvc.dataset import DvcDatasetStore
from tests.adapters.dvc_workspace import BRANCH, version_files
root, number, batch_id, *remote = sys.argv[1:]
store = DvcDatasetStore(Path(root), BRANCH, remote=remote[0] if remote else None, patience=120)
print(store.publish(f"decisions@v0.{number}.0", version_files(int(number)), "More", batch_id).tag)
"""


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout


def dvc(root: Path, *arguments: str) -> None:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str((root / ".hitl" / "dvc-site").absolute())}
    subprocess.run([DVC, *arguments], cwd=root, check=True, capture_output=True, env=environment)


def status(root: Path) -> str:
    return git(root, "status", "--porcelain")


def commits(root: Path) -> int:
    return int(git(root, "rev-list", "--count", BRANCH))


def new_repository(root: Path) -> Path:
    """A repository with one commit on the branch, and an author."""
    root.mkdir(parents=True)
    git(root, "init", "--quiet", f"--initial-branch={BRANCH}")
    git(root, "config", "user.name", "Ana")
    git(root, "config", "user.email", "ana@example.com")
    (root / ".gitignore").write_text(".hitl/\n", encoding="utf-8")
    (root / "README.md").write_text("A workspace\n", encoding="utf-8")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=Begin")
    return root


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: starting DVC takes a second."""
    root = new_repository(tmp_path_factory.mktemp("template") / "workspace")
    dvc(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=Track data with DVC")
    return root


@pytest.fixture
def workspace(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "workspace")


@pytest.fixture
def workspace_with_remote(workspace: Path) -> Path:
    (workspace.parent / "remote").mkdir()
    (workspace / ".dvc" / "config").write_text("[core]\n    remote = store\n['remote \"store\"']\n    url = ../../remote\n")
    git(workspace, "commit", "--quiet", "--all", "--message=Configure a remote")
    return workspace


@pytest.fixture
def origin(workspace_with_remote: Path) -> Path:
    """The bare repository that the workspace was pushed to, and calls `origin`."""
    origin = workspace_with_remote.parent / "origin.git"
    git(workspace_with_remote, "init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(origin))
    git(workspace_with_remote, "remote", "add", "origin", str(origin))
    git(workspace_with_remote, "push", "--quiet", "origin", BRANCH)
    return origin


def version_files(number: int) -> list[NewFile]:
    """The files of version 0.<number>.0. DVC does not look into them, so they need not be Parquet."""
    return [
        NewFile(f"data/decisions/v0.{number}.0.parquet", f"decisions {number}".encode()),
        NewFile(f"data/payloads/v0.{number}.0.parquet", f"payloads {number}".encode()),
    ]


def contents(*numbers: int) -> dict[str, bytes]:
    return {file.path: file.content for number in numbers for file in version_files(number)}


def store(root: Path) -> DvcDatasetStore:
    return DvcDatasetStore(root, BRANCH, patience=30)


def publish(root: Path, number: int, batch_id: str = "") -> str:
    published = store(root).publish(f"decisions@v0.{number}.0", version_files(number), "More", batch_id or f"batch-{number}")
    return published.git_commit


def publishing(root: Path, number: int, batch_id: str, *remote: str, **environment: str) -> subprocess.Popen[str]:
    """Publishes in a process of its own, through a clone of `remote` if it is given."""
    return subprocess.Popen(
        [sys.executable, "-c", _PUBLISH, str(root), str(number), batch_id, *remote],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def deadly_git(directory: Path, step: str, when: str) -> dict[str, str]:
    """The environment in which the caller of `git <step>` is killed `before` or `after` it."""
    shim = directory / "bin" / "git"
    shim.parent.mkdir()
    shim.write_text(_DEADLY_GIT, encoding="utf-8")
    shim.chmod(0o755)
    real = shutil.which("git")
    assert real is not None
    path = os.pathsep.join([str(shim.parent), os.environ["PATH"]])
    return {"PATH": path, "REAL_GIT": real, "KILL_AT": step, "KILL_WHEN": when}
