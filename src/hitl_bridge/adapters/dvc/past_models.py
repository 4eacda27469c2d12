"""Models that are in the workspace no more, as far as commits and DVC's cache still hold them. Starts no DVC."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from hitl_bridge.adapters.dvc.files import DvcCache, listed, pointed_at
from hitl_bridge.adapters.dvc.outputs import locked_outputs
from hitl_bridge.adapters.git.repository import GitRepository

_CARD = "model.json"


class DvcPastModels:
    """Implements `ports.PastModels`."""

    def __init__(self, root: Path, branch: str, pipeline_file: str = "dvc.yaml") -> None:
        self._git = GitRepository(root, branch)
        self._cache = DvcCache(root)
        self._lock = str(PurePosixPath(pipeline_file).with_suffix(".lock"))

    def report(self, commit: str, path: str) -> bytes | None:
        if self._git.resolve(commit) is None:
            return None  # rewritten, or never fetched
        return self._git.content(commit, path)

    def card(self, commit: str, role: str) -> bytes | None:
        folder = f"models/{role}"
        name = self._tracked(commit, folder) or self._made(commit, folder)
        listing = self._cache.content(name) if name else None
        if listing is None:
            return None
        found = listed(listing).get(_CARD)
        return self._cache.content(found) if found else None

    def _tracked(self, commit: str, folder: str) -> str | None:
        """The listing that a pointer names, as the champion has one."""
        return pointed_at(self.report(commit, f"{folder}.dvc") or b"")

    def _made(self, commit: str, folder: str) -> str | None:
        """The listing of what a stage made."""
        return locked_outputs(self.report(commit, self._lock)).get(folder)
