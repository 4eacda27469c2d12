"""What `init` and `doctor` do with git and DVC themselves; dataset versions are the business of `git` and `dvc`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hitl_bridge.adapters.dvc.command import find_dvc
from hitl_bridge.adapters.git.repository import child_environment, without_credentials
from hitl_bridge.errors import RepositoryRefused

_SECONDS = 120
_DVC_CONFIG = "[core]\n    analytics = false\n    autostage = false\n    check_update = false\n"
_GIT_MISSING = "Install git (2.30 or newer) and run the command again."


class WorkspaceTools:
    """git and DVC on this machine. Every method raises RepositoryRefused where they are missing or refuse."""

    def git_version(self) -> str:
        return _output(None, "--version").removeprefix("git version ").split(" ")[0]

    def dvc_version(self) -> str:
        return _run([str(find_dvc()), "--version"], None).stdout.strip()

    def repository_top(self, folder: Path) -> Path | None:
        """The top of the repository that `folder` lies in; None if it lies in none."""
        found = _git(folder, "rev-parse", "--show-toplevel")
        return None if found.returncode else Path(found.stdout.rstrip("\n"))

    def has_commits(self, root: Path) -> bool:
        return _git(root, "rev-parse", "--verify", "--quiet", "HEAD").returncode == 0

    def start_repository(self, root: Path, branch: str) -> None:
        _output(root, "init", "--quiet")
        _output(root, "symbolic-ref", "HEAD", f"refs/heads/{branch}")

    def start_dvc(self, root: Path) -> None:
        """Turns DVC on, quiet and sending nothing home. `dvc init` stages its files; the user's index is put back as it was."""
        index = root / _output(root, "rev-parse", "--git-path", "index")
        before = index.read_bytes() if index.exists() else None
        done = _run([str(find_dvc()), "init", "--quiet"], root, DVC_SITE_CACHE_DIR=str(root / ".hitl" / "dvc-site"))
        if before is None:
            index.unlink(missing_ok=True)
        else:
            index.write_bytes(before)
        if done.returncode:
            raise RepositoryRefused(f"`dvc init` failed in {root}: {_said(done)}", remedy="Mend what DVC names and try again.")
        (root / ".dvc" / "config").write_text(_DVC_CONFIG, encoding="utf-8")

    def commit(self, root: Path, paths: Sequence[str], message: str) -> str:
        """Commits just these files and returns the commit; without a name and an e-mail address of the user's it refuses."""
        if _git(root, "var", "GIT_COMMITTER_IDENT").returncode or _git(root, "var", "GIT_AUTHOR_IDENT").returncode:
            raise RepositoryRefused(
                "git does not know whose commits these would be.",
                remedy="Set them with `git config user.name …` and `git config user.email …`.",
            )
        _output(root, "--literal-pathspecs", "add", "--force", "--", *paths)
        _output(root, "--literal-pathspecs", "commit", "--quiet", "--only", "-m", message, "--", *paths)
        return _output(root, "rev-parse", "HEAD")

    def ignores(self, root: Path, path: str) -> bool:
        """Whether git leaves `path` out of commits."""
        found = _git(root, "check-ignore", "--quiet", "--", path)
        if found.returncode > 1:
            raise RepositoryRefused(f"git can't say what it ignores in {root}: {_said(found)}", remedy="Mend what git names.")
        return found.returncode == 0


def _output(root: Path | None, *arguments: str) -> str:
    done = _git(root, *arguments)
    if done.returncode:
        where = f" in {root}" if root else ""
        raise RepositoryRefused(
            f"`git {' '.join(arguments[:2])}` failed{where}: {_said(done)}", remedy="Mend what git names and try again."
        )
    return done.stdout.strip()


def _git(root: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("git") is None:
        raise RepositoryRefused("git is not installed.", remedy=_GIT_MISSING)
    # An identity guessed from the host's name is none, and a hook of the user's has no say in a commit of our files.
    guarded = ["git", "-c", "user.useConfigOnly=true", "-c", "core.hooksPath=/dev/null", *arguments]
    return _run(guarded, root, GIT_TERMINAL_PROMPT="0", LC_ALL="C.UTF-8")


def _run(command: list[str], root: Path | None, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = child_environment() | {"DVC_NO_ANALYTICS": "1"} | variables
    try:
        return subprocess.run(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        name = Path(command[0]).name
        raise RepositoryRefused(f"{name} did not answer within {_SECONDS} s.", remedy=f"See what keeps {name} busy.") from None


def _said(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr or done.stdout).strip().splitlines()
    return without_credentials(" ".join(lines[:4])) or f"exit code {done.returncode}"
