"""The champion: a pointer in git (`models/champion.json`), its files tracked by DVC (`models/champion`)."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hitl_bridge.adapters.dvc.command import locked_dvc
from hitl_bridge.adapters.dvc.files import write_durably
from hitl_bridge.adapters.git.repository import GitRepository
from hitl_bridge.core.model import JSONObject
from hitl_bridge.errors import RefusedForSafety

_POINTER = "models/champion.json"
_FILES = "models/champion"
_TRAILER = "Sign-Off"
_PATIENCE = 15.0

Track = Callable[[str], Sequence[str]]
"""Puts a path under DVC; returns the git-tracked files that this wrote."""

Save = Callable[[str, Sequence[str]], str | None]
"""Commits paths with a message; returns the commit, or None where nothing changed."""


class DvcChampions:
    """Keeps the champion of the workspace at `root`."""

    def __init__(self, root: Path, git: GitRepository, track: Track, save: Save) -> None:
        self._root = root
        self._git = git
        self._track = track
        self._save = save

    def candidate_files(self) -> Mapping[str, str]:
        """SHA-256 by path of the candidate's files."""
        return _digests(self._root / "models" / "candidate")

    def champion_files(self) -> Mapping[str, str]:
        return _digests(self._root / _FILES)

    def committed_by(self, key: str) -> str | None:
        """The commit that carries out what has this key, if there is one."""
        return self._git.find_commit(_TRAILER, key)

    def install_candidate(self, pointer: JSONObject, files: Mapping[str, str], subject: str, key: str) -> str:
        """Copies the candidate, tracks it, and only then moves the pointer: a crash leaves the old champion or the new."""
        source, target = self._root / "models" / "candidate", self._root / _FILES
        fresh = target.with_name("champion.new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(source, fresh)
        _check(fresh, files, "The candidate was changed while it was promoted")
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
        return self._point(pointer, self._track(_FILES), subject, key)

    def restore(self, commit: str, pointer: JSONObject, files: Mapping[str, str], subject: str, key: str) -> str:
        """Brings back the champion of `commit` from DVC's cache or remote, and points at it. Raises OutsideUnavailable."""
        target = self._root / _FILES
        fresh = target.with_name("champion.new")
        shutil.rmtree(fresh, ignore_errors=True)
        with locked_dvc(self._root, "commit", _PATIENCE) as dvc:
            dvc.run("get", "--quiet", ".", _FILES, "--rev", commit, "--out", str(fresh))
        _check(fresh, files, "What DVC has is not the model that was signed off")
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
        return self._point(pointer, self._track(_FILES), subject, key)

    def _point(self, pointer: JSONObject, written: Sequence[str], subject: str, key: str) -> str:
        text = json.dumps(pointer, indent=2, ensure_ascii=False) + "\n"
        write_durably(self._root / _POINTER, text)
        return self._save(f"{subject}\n\n{_TRAILER}: {key}", [_POINTER, *written]) or self._git.head()


def _check(folder: Path, pledged: Mapping[str, str], what: str) -> None:
    found = _digests(folder)
    wrong = sorted(name for name in found.keys() | pledged.keys() if found.get(name) != pledged.get(name))
    if wrong:
        remedy = "Nothing was promoted. Restore what was trained with `dvc checkout`, then try again."
        raise RefusedForSafety(f"{what}: {', '.join(wrong[:3])}.", remedy=remedy)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
