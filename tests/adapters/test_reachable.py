"""Whether git and DVC remotes can be reached, for `/health`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hitl_bridge.adapters.dvc.reachable import ping
from hitl_bridge.errors import OutsideUnavailable, RepositoryRefused


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    root.mkdir()
    git(root, "init", "--quiet")
    (root / ".dvc").mkdir()
    return root


def test_without_remotes_a_repository_is_enough(workspace: Path, tmp_path: Path) -> None:
    ping(workspace, None)
    with pytest.raises(RepositoryRefused):
        ping(tmp_path, None)


def test_a_git_remote_is_asked(workspace: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    git(workspace, "remote", "add", "origin", str(tmp_path / "remote.git"))
    ping(workspace, "origin")
    (tmp_path / "remote.git").rename(tmp_path / "gone.git")
    with pytest.raises(OutsideUnavailable, match="git remote"):
        ping(workspace, "origin")


def test_a_password_in_its_address_is_not_told(workspace: Path) -> None:
    with pytest.raises(OutsideUnavailable) as away:
        ping(workspace, "http://ana:s3cr3t@127.0.0.1:9/reviews.git")
    assert "s3cr3t" not in away.value.message


def test_a_dvc_remote_that_is_a_folder_has_to_be_there(workspace: Path, tmp_path: Path) -> None:
    config = workspace / ".dvc" / "config"
    config.write_text("[core]\n    remote = store\n['remote \"store\"']\n    url = ../../storage\n")
    with pytest.raises(OutsideUnavailable, match="DVC remote"):
        ping(workspace, None)
    (tmp_path / "storage").mkdir()
    ping(workspace, None)
    config.write_text("[core]\n    remote = store\n['remote \"store\"']\n    url = s3://bucket/reviews\n")
    ping(workspace, None)
    config.write_text("[broken")
    ping(workspace, None)
