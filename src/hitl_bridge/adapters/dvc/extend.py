"""What `dvc add` does for a folder that got new files, without starting DVC, which takes a second to load.

A folder in DVC is a pointer file, a listing and objects named by their MD5 (layout: DVC 3). Where the listing of the version
before is here, that of the new one is the same with the new files in it: nothing but these has to be hashed or copied. Where
anything is not as DVC writes it by default, `extendable_folders` gives None, and DVC is asked. A test holds the two against each
other, byte for byte. Why: docs/decisions/0030-a-commit-starts-no-dvc.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hitl_bridge.adapters.dvc.added import Addition
from hitl_bridge.adapters.dvc.files import DvcCache, has_plain_cache, write_durably
from hitl_bridge.adapters.dvc.objects import keep_object
from hitl_bridge.errors import RepositoryRefused
from hitl_bridge.ports import NewFile

_POINTER = re.compile(rb"outs:\n- md5: ([0-9a-f]{32}\.dir)\n  size: (\d+)\n  nfiles: \d+\n  hash: md5\n  path: ([\w.-]+)\n")
_IGNORE_FILE = ".dvcignore"
_SEEN = "data-files.json"


@dataclass(frozen=True, slots=True)
class TrackedFolder:
    """A tracked folder as the version before left it: `listing` is its entries as they stand in the cache."""

    directory: str
    size: int
    listing: Sequence[Mapping[str, str]]

    def with_files(self, files: Sequence[NewFile]) -> tuple[bytes, bytes]:
        """Listing and pointer of the folder with `files` in it."""
        new = [{"md5": _md5(file.content), "relpath": file.path.removeprefix(f"{self.directory}/")} for file in files]
        entries = sorted((*self.listing, *new), key=lambda entry: entry["relpath"])
        listing = json.dumps(entries, sort_keys=True).encode()
        size = self.size + sum(len(file.content) for file in files)
        lines = (f"- md5: {_md5(listing)}.dir", f"  size: {size}", f"  nfiles: {len(entries)}", "  hash: md5")
        pointer = "\n".join(("outs:", *lines, f"  path: {Path(self.directory).name}", ""))
        return listing, pointer.encode()


def extendable_folders(root: Path, pointers: Mapping[str, bytes]) -> list[TrackedFolder] | None:
    """The folders whose pointers (by folder) are those of the version before; None where only DVC itself can go on from them,
    as from an empty pointer."""
    if not has_plain_cache(root) or any(_ignores_something(root, directory) for directory in pointers):
        return None
    found = [_extendable(DvcCache(root), directory, pointer) for directory, pointer in pointers.items()]
    whole = [each for each in found if each is not None]
    return whole if len(whole) == len(found) else None


def _extendable(cache: DvcCache, directory: str, pointer: bytes) -> TrackedFolder | None:
    match = _POINTER.fullmatch(pointer)
    content = cache.content(match[1].decode()) if match else None
    if match is None or content is None or match[3].decode() != Path(directory).name:
        return None
    if _md5(content) != match[1].decode().removesuffix(".dir"):
        return None
    return TrackedFolder(directory, int(match[2]), json.loads(content))


def _ignores_something(root: Path, directory: str) -> bool:
    """Whether some `.dvcignore` could keep files of the folder out of it."""
    folders = [root / directory, *(root / parent for parent in Path(directory).parents)]
    lines = [line for folder in folders for line in _lines(folder / _IGNORE_FILE)]
    return any(line.strip() and not line.startswith("#") for line in lines)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def extend(root: Path, folders: Sequence[TrackedFolder], files: Sequence[NewFile], addition: Addition) -> None:
    """Objects, listings and pointers of `folders` with `files`, which lie in their places already.

    A pointer is written last: what it names is there before it. Raises RepositoryRefused where an earlier file was altered.
    """
    _check_unaltered(root, addition.earlier)
    cache = DvcCache(root).objects
    for file in files:
        keep_object(cache, _md5(file.content), file.content)
    for folder in folders:
        mine = [file for file in files if file.path.startswith(f"{folder.directory}/")]
        listing, pointer = folder.with_files(mine)
        keep_object(cache, f"{_md5(listing)}.dir", listing)
        write_durably(root / f"{folder.directory}.dvc", pointer)


# ---------------------------------------------------------------------------------------------- the files before


def _check_unaltered(root: Path, earlier: Mapping[str, str]) -> None:
    """`earlier`: MD5 by path. A file that was looked at before is hashed only if it was written since, as DVC does it."""
    memory = root / ".hitl" / _SEEN
    seen = _remembered(memory)
    looks = {path: _look(root / path) for path in earlier}
    for path in (path for path, look in looks.items() if seen.get(path) != [earlier[path], *look]):
        if _md5((root / path).read_bytes()) != earlier[path]:
            raise RepositoryRefused(
                f"{path} is not what an earlier version holds.",
                remedy=f"Bring it back with `dvc checkout --force {Path(path).parent}.dvc` in {root}, then try again.",
            )
    now = {path: [earlier[path], *look] for path, look in looks.items()}
    if now != seen:
        memory.parent.mkdir(exist_ok=True)
        write_durably(memory, json.dumps(now))


def _look(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _remembered(memory: Path) -> Mapping[str, object]:
    """Nothing where it can't be read: then everything is hashed."""
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()  # what DVC names objects by
