"""Reading and writing of a workspace's files: JSON in one form, replaced in one step, digests."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hitl_bridge.core.model import JSON
from hitl_bridge.errors import UsageError


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces the file in one step: a killed stage leaves the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half_done = path.with_name(path.name + ".part")
    half_done.write_bytes(content)
    half_done.replace(path)


def write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes(path, text.encode() + b"\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_bytes(path, sink.getvalue().encode())


def read_json(path: Path, *, remedy: str) -> Mapping[str, JSON]:
    """The JSON object in a file. Raises UsageError, with `remedy`, if there is none."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(f"There is no {path.name} in {path.parent.name}/.", remedy=remedy) from error
    except ValueError as error:
        raise UsageError(f"{path.parent.name}/{path.name} holds no JSON.", remedy=remedy) from error
    if not isinstance(content, dict):
        raise UsageError(f"{path.parent.name}/{path.name} holds no JSON object.", remedy=remedy)
    return content


def canonical(content: object) -> str:
    """JSON in one form: sorted keys, no spaces."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder`, by its path relative to it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()) for path in files}
