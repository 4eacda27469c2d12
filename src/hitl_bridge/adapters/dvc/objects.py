"""Objects in a folder of DVC's layout (`ab/cdef…`, named by their MD5), written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

_READ_ONLY = 0o444
"""DVC takes an object with these rights for one that nobody has touched."""


def object_path(folder: Path, name: str) -> Path:
    return folder / name[:2] / name[2:]


def keep_object(folder: Path, name: str, content: bytes) -> None:
    """Puts it there, on the disk when this returns, unless it is there. Raises OSError."""
    path = object_path(folder, name)
    if path.is_file():
        return
    _write(path, name, content)


def _write(path: Path, name: str, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Named like DVC's own: what a crash leaves of it is cleared away with theirs (adapters/leftovers.py).
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{name[:14]}", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), _READ_ONLY)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


class FolderRemote:
    """A DVC remote that is a folder of this machine, like a share that is mounted. Every call may raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._objects = folder / "files" / "md5"

    def holds(self, names: Collection[str]) -> bool:
        return all(object_path(self._objects, name).is_file() for name in names)

    def upload(self, cache: Path, sizes: Mapping[str, int]) -> None:
        """Objects of the cache (its folder `files/md5`), by name with their sizes; one of another size there is replaced.

        Listings last: what they name is there before them.
        """
        for name in sorted(self.missing(sizes), key=lambda name: name.endswith(".dir")):
            _write(object_path(self._objects, name), name, object_path(cache, name).read_bytes())

    def missing(self, sizes: Mapping[str, int]) -> list[str]:
        """Names of objects that are not there, or not of that size."""
        return [name for name, size in sizes.items() if self._size(name) != size]

    def _size(self, name: str) -> int | None:
        path = object_path(self._objects, name)
        return path.stat().st_size if path.is_file() else None
