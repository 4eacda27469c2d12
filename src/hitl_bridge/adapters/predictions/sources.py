"""What a source of predictions is made of: a file, a folder of files, a pattern, or the same on another file system (S3).

Local files are opened as such. An address with a scheme (`s3://bucket/folder`) goes through Arrow's own file systems, which take
credentials from where the cloud's own tools do; nothing is installed or downloaded for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import glob, has_magic
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import pyarrow as pa
from pyarrow import fs

from hitl_bridge.errors import UsageError

SUFFIXES = (".jsonl.gz", ".jsonl", ".ndjson", ".csv", ".parquet")
_HIDDEN = (".", "_")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file. `shown` is its whole address, `name` what problems call it: within a folder the path from there. `open` opens it
    for Python, `arrow` for Arrow."""

    shown: str
    name: str
    open: Callable[[], IO[bytes]]
    arrow: Callable[[], Any]

    @property
    def suffix(self) -> str | None:
        """Which of `SUFFIXES` it ends in; None for another kind of file."""
        return next((suffix for suffix in SUFFIXES if self.shown.lower().endswith(suffix)), None)


def source_files(source: str) -> list[SourceFile]:
    """The files of a source in the order of their names. One file stands for itself, whether it exists or not.

    Raises:
        UsageError: a folder or a pattern without files in it, or a file system that can't be reached.
    """
    if "://" in source:
        return _remote(source)
    path = Path(source)
    if path.is_dir():
        found = sorted(each for each in path.rglob("*") if each.is_file() and _is_data(str(each.relative_to(path))))
        return _some([_local(each, str(each.relative_to(path))) for each in found], source)
    if has_magic(source) and not path.exists():
        matching = [Path(each) for each in sorted(glob(source, recursive=True))]  # noqa: PTH207 (patterns from the root too)
        return _some([_local(each, each.name) for each in matching if each.is_file()], source)
    return [_local(path, path.name)]


def _local(path: Path, name: str) -> SourceFile:
    return SourceFile(str(path), name, lambda: path.open("rb"), lambda: pa.OSFile(str(path)))


def _is_data(name: str) -> bool:
    """Files of a known kind that are not hidden: folders of other tools hold `_SUCCESS` and `.crc` files."""
    parts = PurePosixPath(name).parts
    return name.lower().endswith(SUFFIXES) and not any(part.startswith(_HIDDEN) for part in parts)


def _some(files: list[SourceFile], source: str) -> list[SourceFile]:
    if not files:
        raise UsageError(
            f"There are no files of predictions at {source}.", remedy=f"Looked for files that end in {', '.join(SUFFIXES)}."
        )
    return files


# --------------------------------------------------------------------------------------------------- file systems


def _remote(source: str) -> list[SourceFile]:
    scheme = source.partition("://")[0]
    try:
        root = source[: min((source.find(each) for each in "*?[" if each in source), default=len(source))]
        system, start = fs.FileSystem.from_uri(root)
        if root != source:
            return _some(_matching(system, scheme, source, start), source)
        info = system.get_file_info(start)
        if info.type == fs.FileType.Directory:
            return _some(_within(system, scheme, start), source)
        return [_on(system, scheme, start, PurePosixPath(start).name)]
    except (OSError, pa.ArrowException) as unreachable:
        raise UsageError(
            f"{source} can't be reached: {str(unreachable).splitlines()[0]}",
            remedy="Check the address and the credentials in the environment (for S3: AWS_ACCESS_KEY_ID, AWS_REGION, …).",
        ) from None


def _on(system: Any, scheme: str, path: str, name: str) -> SourceFile:
    def open_file() -> Any:
        return system.open_input_file(path)

    return SourceFile(f"{scheme}://{path}", name, lambda: cast("IO[bytes]", BufferedReader(open_file())), open_file)


def _within(system: Any, scheme: str, folder: str) -> list[SourceFile]:
    names = [(info.path, info.path[len(folder.rstrip("/")) + 1 :]) for info in _files_below(system, folder)]
    return [_on(system, scheme, path, name) for path, name in names if _is_data(name)]


def _matching(system: Any, scheme: str, source: str, start: str) -> list[SourceFile]:
    """Every file below the last folder without a pattern in its name that fits the whole pattern; `*` stops at no slash."""
    pattern = source.partition("://")[2]
    folder = start if start.endswith("/") else start.rpartition("/")[0]
    found = [info.path for info in _files_below(system, folder.rstrip("/")) if fnmatch(info.path, pattern)]
    return [_on(system, scheme, path, PurePosixPath(path).name) for path in found]


def _files_below(system: Any, folder: str) -> list[Any]:
    below = system.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
    return sorted((info for info in below if info.type == fs.FileType.File), key=lambda info: info.path)
