"""The workspace's `dvc repro`: run, listened to, and its results committed."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from hitl_bridge.adapters.dvc.command import TAIL_LINES, check_dvc, locked_dvc
from hitl_bridge.adapters.dvc.files import default_remote, write_durably
from hitl_bridge.adapters.dvc.locks import is_locked_by_others
from hitl_bridge.adapters.git.repository import GitRepository, check_inside
from hitl_bridge.errors import BridgeError, RepositoryRefused

_ADVICE = re.compile(
    r"To track the changes with git, run:|\s+git add |To enable auto staging, run:|\s+dvc config core\.autostage "
)
"""What DVC says at the end of files to be committed, which we do ourselves. No setting silences that and nothing else."""

_CONFLICT = "half merged"
_BASE = "data/base"
_BASE_SUFFIXES = (".jsonl", ".parquet", ".csv")
_PATIENCE = 15.0
"""Seconds to wait for others who work on the data."""


class PipelineFailed(BridgeError):
    """A stage of `dvc repro` failed; `tail` holds the last lines it said."""

    def __init__(self, stage: str, tail: tuple[str, ...]) -> None:
        self.stage = stage
        self.tail = tail
        what = f"Stage {stage!r} of the pipeline failed" if stage else "`dvc repro` failed"
        super().__init__(
            f"{what}: {' '.join(tail[-3:])}",
            remedy="Mend the cause and run it again; stages that finished are not run twice.",
        )


class DvcPipeline:
    """Port `Pipeline`: the stages of `pipeline_file`, run by `dvc repro`, committed on `branch`."""

    def __init__(
        self,
        root: Path,
        branch: str,
        pipeline_file: str = "dvc.yaml",
        *,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        """`progress` gets each line that DVC and the stages say, as it comes."""
        check_inside(root, pipeline_file)
        self._root = root
        self._git = GitRepository(root, branch)
        self._pipeline_file = pipeline_file
        self._progress = progress or _ignore

    def repro(self, *, force: bool = False) -> bool:
        """Runs what is out of date; whether anything ran. Raises PipelineFailed, OutsideUnavailable, RepositoryRefused."""
        with locked_dvc(self._root, "repro", _PATIENCE) as dvc:
            self._check()
            lock = (self._root / self._pipeline_file).with_suffix(".lock")
            self._mend_lock_file(lock)
            before = lock.read_bytes() if lock.exists() else b""
            heard = _Heard(self._progress)
            code = dvc.stream(("repro", *(("--force",) if force else ()), self._pipeline_file), heard)
            if code:
                raise PipelineFailed(heard.stage if heard.failed else "", tuple(heard.tail))
            return heard.stage != "" or before != (lock.read_bytes() if lock.exists() else b"")

    def save(self, message: str, paths: Sequence[str]) -> str | None:
        """Commits these files and folders on the branch, as they lie there; returns the commit, None if nothing changed."""
        with locked_dvc(self._root, "commit", _PATIENCE):
            self._check()
            return self._git.commit_if_changed(paths, f"{message.strip()}\n")

    def track(self, path: str) -> tuple[str, ...]:
        """Tracks `path` with DVC, on the default remote too if there is one; returns what is to be saved in git: its
        `.dvc` file first, and the `.gitignore` that keeps the data itself out of git."""
        check_inside(self._root, path)
        pointer = f"{path.rstrip('/')}.dvc"
        ignore = str(PurePosixPath(pointer).with_name(".gitignore"))
        with locked_dvc(self._root, "commit", _PATIENCE) as dvc:
            self._check()
            dvc.run("add", "--quiet", path)
            if default_remote(self._root) is not None:
                dvc.run("push", "--quiet", pointer)
        return (pointer, ignore) if (self._root / ignore).is_file() else (pointer,)

    def track_base(self) -> tuple[str, ...]:
        """Puts labelled base data that is new or changed under DVC; returns what is to be saved in git.

        `dvc.lock` names the digest of the data that a model was trained on: without this nothing would keep the data.
        Files that git itself keeps are left to it.
        """
        found = sorted(path for path in (self._root / _BASE).glob("*") if path.suffix in _BASE_SUFFIXES and path.is_file())
        names = [path.relative_to(self._root).as_posix() for path in found if _is_untracked(path)]
        return tuple(
            dict.fromkeys(each for name in names if self._git.content("HEAD", name) is None for each in self.track(name))
        )

    def _mend_lock_file(self, lock: Path) -> None:
        """A killed DVC leaves `dvc.lock` empty, on which it fails, or half written, from which it would run stages again.

        Under our lock, and as the file holds nothing that a person wrote, the one of the branch takes its place; what was there
        is kept beside our state. Half a merge is a person's to settle, and so is what a DVC at work here is writing just now.
        """
        trouble = _trouble_of(lock.read_bytes()) if lock.exists() else ""
        if not trouble:
            return
        name = lock.relative_to(self._root).as_posix()
        if trouble == _CONFLICT or is_locked_by_others(self._root):
            raise RepositoryRefused(
                f"{lock} is {trouble}.",
                remedy=f"End what works there, then settle the file: `git restore -SW -- {name}` brings the committed one back.",
            )
        lock.replace(self._root / ".hitl" / f"{lock.name}.torn")
        committed = self._git.content("HEAD", name)
        if committed is not None:
            write_durably(lock, committed)

    def committer(self) -> str:
        """Whose commits these are: `Name <address>` as git is configured. Raises RepositoryRefused if it is not."""
        return self._git.committer()

    def _check(self) -> None:
        self._git.check()
        check_dvc(self._root)


def _is_untracked(path: Path) -> bool:
    """Whether DVC has not seen the file, or not since it was last changed."""
    pointer = path.with_name(f"{path.name}.dvc")
    return not pointer.exists() or pointer.stat().st_mtime < path.stat().st_mtime


class _Heard:
    """Listens to `dvc repro`: which stage runs, whether it failed, and the last lines."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self.stage = ""
        self.failed = False
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._progress = progress

    def __call__(self, line: str) -> None:
        self.tail.append(line)
        if running := re.match(r"Running stage '([^']+)'", line):
            self.stage = running[1]
        elif failed := re.match(r"ERROR: failed to reproduce '([^']+)'", line):
            self.stage, self.failed = failed[1], True
        if not _ADVICE.match(line):
            self._progress(line)


def _ignore(line: str) -> None:
    """Nobody listens."""


def _trouble_of(lock_file: bytes) -> str:
    """What is wrong with a `dvc.lock`; nothing if it is one that DVC wrote to the end."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if any(line.startswith((b"<<<<<<<", b">>>>>>>")) for line in lock_file.splitlines()):
        return _CONFLICT
    try:
        stages = YAML(typ="safe", pure=True).load(lock_file.decode()).get("stages") or {}
        whole = all("cmd" in stage for stage in stages.values()) and lock_file.endswith(b"\n")
    except (YAMLError, UnicodeDecodeError, AttributeError, TypeError):
        return "torn"
    return "" if whole else "torn"
