"""What the pipeline's stages wrote, held against the `dvc.lock` that is committed: computed as DVC computes it, without DVC."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from hitl_bridge.adapters.git.repository import GitRepository


class LockedOutputs:
    """Implements `ports.PipelineOutputs`: the branch's lock file of `pipeline_file` decides, not the one that lies there."""

    def __init__(self, root: Path, branch: str, pipeline_file: str = "dvc.yaml") -> None:
        self._root = root
        self._git = GitRepository(root, branch)
        self._lock = str(PurePosixPath(pipeline_file).with_suffix(".lock"))

    def altered(self, paths: Sequence[str]) -> Sequence[str]:
        known = self._known()
        return [f"{path}: {why}" for path in paths if (why := self._trouble(path, known.get(path)))]

    def _known(self) -> dict[str, str]:
        return locked_outputs(self._git.content(self._git.head(), self._lock))

    def _trouble(self, path: str, pledged: str | None) -> str:
        place = self._root / path
        if pledged is None:
            return f"is not in the {self._lock} that is committed"
        if not place.exists():
            return "is not there"
        found = _md5_of_folder(place) if place.is_dir() else _md5(place.read_bytes())
        return "" if found == pledged else f"is not what the pipeline wrote (committed {self._lock})"


def locked_outputs(lock_file: bytes | None) -> dict[str, str]:
    """MD5 by path of every output that a `dvc.lock` names."""
    from ruamel.yaml import YAML

    stages: Mapping[str, Any] = (YAML(typ="safe", pure=True).load((lock_file or b"").decode()) or {}).get("stages") or {}
    return {str(out["path"]): str(out["md5"]) for stage in stages.values() for out in stage.get("outs", ()) if "md5" in out}


def _md5_of_folder(folder: Path) -> str:
    """DVC's hash of a folder: of the JSON list of its files, by path."""
    files = sorted((path.relative_to(folder).parts, path) for path in folder.rglob("*") if path.is_file())
    listed = [{"md5": _md5(path.read_bytes()), "relpath": "/".join(parts)} for parts, path in files]
    return _md5(json.dumps(listed, sort_keys=True).encode()) + ".dir"


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()  # what DVC names outputs by
