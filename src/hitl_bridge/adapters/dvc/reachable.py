"""Whether the places where dataset versions are published can be reached, for `/health`. Changes nothing and takes no lock."""

from __future__ import annotations

import configparser
import subprocess
from pathlib import Path

from hitl_bridge.adapters.git.repository import git_environment, without_credentials
from hitl_bridge.errors import OutsideUnavailable, RepositoryRefused

SECONDS = 10.0


def ping(root: Path, git_remote: str | None) -> None:
    """Asks the git remote for its heads, if versions go to one; a DVC remote that is a folder has to be there. One in a cloud
    is not asked: whether it is there, the last commit tells.

    Raises OutsideUnavailable, and RepositoryRefused if `root` is in no git repository.
    """
    if _git(root, "rev-parse", "--git-dir").returncode:
        raise RepositoryRefused(f"{root} is in no git repository.")
    if git_remote is not None:
        asked = _git(root, "ls-remote", "--quiet", "--heads", "--", git_remote)
        if asked.returncode:
            raise OutsideUnavailable(f"The git remote does not answer: {_last_line(asked.stderr)}")
    folder = _dvc_remote_folder(root)
    if folder is not None and not folder.is_dir():
        raise OutsideUnavailable("The folder of the DVC remote is not there.")


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["git", *arguments]
    try:
        return subprocess.run(
            command, cwd=root, env=git_environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, b"", f"no answer in {SECONDS:.0f} s".encode())


def _last_line(text: bytes) -> str:
    lines = without_credentials(text.decode("utf-8", "replace")).strip().splitlines()
    return lines[-1][:200] if lines else "no reason given"


def _dvc_remote_folder(root: Path) -> Path | None:
    """The default remote's folder, if it is one: what `config.local` says goes before `config`."""
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return None  # DVC itself says what is wrong with it, at the next commit
    name = config.get("core", "remote", fallback=None)
    url = config.get(f"'remote \"{name}\"'", "url", fallback=None) if name else None
    if url is None or "://" in url:
        return None
    return root / ".dvc" / url
