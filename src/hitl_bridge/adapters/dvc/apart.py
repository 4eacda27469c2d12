"""`dvc repro` in a clone of the workspace (`.hitl/retrain`): a training takes long, and the workspace is somebody's desk.

The clone holds what is committed on the branch and nothing else; DVC's cache is shared. What the stages wrote is committed on the
workspace's own branch afterwards, beside whatever was committed there meanwhile.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from hitl_bridge.adapters.dvc.command import DvcFailed, locked_dvc
from hitl_bridge.adapters.dvc.files import default_remote, settings_for_clone, write_durably
from hitl_bridge.adapters.dvc.pipeline import DvcPipeline
from hitl_bridge.adapters.git.repository import GitRepository
from hitl_bridge.adapters.leftovers import clear_git_locks
from hitl_bridge.errors import RepositoryRefused

_CANDIDATE = "models/candidate"
_PATIENCE = 15.0


class DvcPipelineApart:
    """Implements `ports.PipelineApart`. Whoever uses it is the only one who does."""

    def __init__(self, workspace: Path, branch: str, pipeline_file: str) -> None:
        self._workspace = workspace
        self._branch = branch
        self._file = pipeline_file
        self._top = workspace / ".hitl" / "retrain"
        self._theirs = GitRepository(workspace, branch)

    @cached_property
    def root(self) -> Path:
        return self._top / self._theirs.output("rev-parse", "--show-prefix").decode().strip()

    @cached_property
    def _git(self) -> GitRepository:
        return GitRepository(self._top, self._branch)

    def refresh(self) -> None:
        self._theirs.check()
        self._top.mkdir(parents=True, exist_ok=True, mode=0o700)
        if (self._top / ".git").is_dir():
            clear_git_locks(self._top / ".git")
        self._git.output("init", "--quiet", "--template=", f"--initial-branch={self._branch}")
        top = self._theirs.output("rev-parse", "--show-toplevel").decode().rstrip("\n")
        fetched = f"+refs/heads/{self._branch}:refs/remotes/workspace/{self._branch}"
        self._git.output("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", top, fetched)
        self._git.output("symbolic-ref", "HEAD", f"refs/heads/{self._branch}")
        self._git.output("reset", "--quiet", "--hard", f"refs/remotes/workspace/{self._branch}")
        self._git.output("clean", "--quiet", "-d", "--force")
        write_durably(self.root / ".dvc" / "config.local", settings_for_clone(self._workspace))
        self._bring_data()

    def _bring_data(self) -> None:
        known = GitRepository(self.root, self._branch).output("ls-files", "-z").decode().split("\0")
        wanted = [path for path in known if path.endswith(".dvc")]
        if not wanted:
            return
        with locked_dvc(self.root, "repro", _PATIENCE) as dvc:
            dvc.forget_locks()
            try:
                dvc.run("checkout", "--quiet", "--force", *wanted)
            except DvcFailed:
                if default_remote(self.root) is None:
                    raise
                dvc.run("pull", "--quiet", "--force", *wanted)

    def repro(self) -> bool:
        return DvcPipeline(self.root, self._branch, self._file).repro()

    def bring_home(self, message: str, paths: Sequence[str]) -> str | None:
        lock = str(PurePosixPath(self._file).with_suffix(".lock"))
        files = [file for path in (lock, *paths) for file in self._files(path)]
        base = self._git.head()
        edited = self._theirs.edited([file for file in files if (self._workspace / file).exists()])
        if edited:
            raise RepositoryRefused(
                f"A model was trained, and {edited[0]} was edited in {self._workspace} meanwhile.",
                remedy=f"Look at `git diff HEAD -- {edited[0]}`; take it back with `git restore -SW -- {edited[0]}`.",
            )
        if all(_same(self.root / file, self._workspace / file) for file in files):
            return None
        moved = [file for file in files if self._theirs.content("HEAD", file) != self._git.content(base, file)]
        if moved:
            raise RepositoryRefused(
                f"A model was trained, and {moved[0]} was committed in {self._workspace} meanwhile.",
                remedy="Nothing is lost: the next training starts from what is there now.",
            )
        for file in files:
            write_durably(self._workspace / file, (self.root / file).read_bytes())
        self._put_candidate()
        return self._theirs.commit(files, f"{message.strip()}\n")

    def _files(self, path: str) -> list[str]:
        place = self.root / path
        found = sorted(each for each in place.rglob("*") if each.is_file()) if place.is_dir() else [place]
        known = [each.relative_to(self.root).as_posix() for each in found if each.is_file()]
        ignored = GitRepository(self.root, self._branch).run("check-ignore", "--stdin", stdin="\n".join(known).encode())
        left_out = set(ignored.stdout.decode().splitlines())
        return [each for each in known if each not in left_out]

    def _put_candidate(self) -> None:
        source, target = self.root / _CANDIDATE, self._workspace / _CANDIDATE
        fresh = target.with_name("candidate.new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(source, fresh)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()
