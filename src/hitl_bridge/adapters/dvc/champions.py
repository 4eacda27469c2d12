"""The champion: a pointer in git (`models/champion.json`), its files tracked by DVC (`models/champion`)."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from hitl_bridge.core.model import JSON, JSONObject

_POINTER = "models/champion.json"
_FILES = "models/champion"

Track = Callable[[str], Sequence[str]]
"""Puts a path under DVC; returns the git-tracked files that this wrote."""

Save = Callable[[str, Sequence[str]], str | None]
"""Commits paths with a message; returns the commit, or None where nothing changed."""


class DvcChampions:
    """Keeps the champion of the workspace at `root`."""

    def __init__(self, root: Path, track: Track, save: Save) -> None:
        self._root = root
        self._track = track
        self._save = save

    def install_candidate(self, model_version: str, sign_off: JSONObject) -> str | None:
        """Copies the candidate, tracks it, and only then moves the pointer: a crash leaves the old champion or the new."""
        source, target = self._root / "models" / "candidate", self._root / _FILES
        fresh = target.with_name("champion.new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(source, fresh)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
        written = self._track(_FILES)
        pointer: dict[str, JSON] = {"model_version": model_version, "sha256": _digests(target), **sign_off}
        _write(self._root / _POINTER, pointer)
        return self._save(f"Promote {model_version}: {sign_off.get('reason')}", [_POINTER, *written])


def _digests(folder: Path) -> dict[str, JSON]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _write(path: Path, content: JSONObject) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    fresh.replace(path)
