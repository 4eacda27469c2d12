"""Whether what `dvc add` cached is what we meant: the earlier files untouched, the new ones with our digests.

Runs in the child that also uploads, between the two: what is wrong here never gets to the remote.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hitl_bridge.adapters.dvc.files import DvcCache, pointed_at, sha256
from hitl_bridge.errors import RepositoryRefused

ADD_FAILED, PUSH_FAILED = 101, 102
"""Exit codes of the child, for which command of DVC's it was that failed."""


@dataclass(frozen=True, slots=True)
class Addition:
    """Folders that `dvc add` is to track anew, and what has to be in them then.

    `paths`: every file of them, from the workspace's root; of these `earlier` (MD5 by path) are in a version already and `new`
    (SHA-256 by path) come with this one. `listings`: the earlier versions' listings, which a remote holds only after their
    files. With `upload` the default remote gets the objects.
    """

    directories: Sequence[str]
    paths: Collection[str]
    earlier: Mapping[str, str]
    new: Mapping[str, str]
    listings: Sequence[str]
    upload: bool


def check_added(root: Path, addition: Addition) -> dict[str, int]:
    """Size by name of the objects that this version brings: the new files and the folders' listings. Forces them to the disk.

    Hashes only what is new. Raises RepositoryRefused.
    """
    cache, brought = DvcCache(root), dict[str, int]()
    for directory in addition.directories:
        pointer = (root / f"{directory}.dvc").read_bytes()
        listing = cache.listing(pointer, directory) or {}
        _check_listing(root, directory, listing, addition)
        new = [path for path in addition.new if path in listing]
        for path in new:
            _check_object(cache, path, listing[path], addition.new[path])
        for name in (*(listing[path] for path in new), pointed_at(pointer) or ""):
            cache.keep(name)
            brought[name] = cache.path(name).stat().st_size
    return brought


def _check_listing(root: Path, directory: str, listing: Mapping[str, str], addition: Addition) -> None:
    here = f"{directory}/"
    altered = sorted(path for path, md5 in addition.earlier.items() if path.startswith(here) and listing.get(path) != md5)
    if altered or listing.keys() != {path for path in addition.paths if path.startswith(here)}:
        raise RepositoryRefused(
            f"{(altered or [directory])[0]} is not what an earlier version holds.",
            remedy=f"Bring it back with `dvc checkout --force {directory}.dvc` in {root}, then try again.",
        )


def _check_object(cache: DvcCache, path: str, name: str, digest: str) -> None:
    if sha256(cache.content(name) or b"") != digest:
        raise RepositoryRefused(
            f"The DVC cache holds something else for {path}: {cache.path(name)} is damaged.",
            remedy="Delete that file of the cache and run the same command again.",
        )
