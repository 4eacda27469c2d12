"""A copy of the store that was read back before it counts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hitl_bridge.errors import OutsideUnavailable, RefusedForSafety, UsageError
from hitl_bridge.ports import AuditHead, Backups, Clock, StoreCounts

_FORM = 1
_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class BackupResult:
    """A backup that was read back and found whole. `file` and `notes` (what it must hold, as JSON) lie side by side."""

    file: Path
    notes: Path
    size: int
    sha256: str
    schema: str
    audit_seq: int
    audit_hash: str
    rows: Mapping[str, int]
    made_at: datetime


def back_up(backups: Backups, clock: Clock, target: Path) -> BackupResult:
    """Copies the store to `target`, reads the copy back, and only then puts it in its place.

    Raises:
        UsageError: `target` is there already.
        OutsideUnavailable: it can't be written.
        RefusedForSafety: the copy is not what the store held.
    """
    if target.exists() or notes_of(target).exists():
        raise UsageError(f"{target} is there already; nothing was written.", remedy="Name another file, or none.")
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _gone_afterwards(partial):
            partial.touch(mode=0o600)
            held, found = backups.copy(partial), backups.look_into(partial)
            _refuse_unlike(target, held, found)
            return _put_in_place(partial, target, found, clock.now())
    except OSError as error:
        raise OutsideUnavailable(
            f"The backup {target} can't be written: {error.strerror}.",
            remedy="Check that you may write there and that the disk is not full. No backup was made.",
        ) from error


def verify(backups: Backups, file: Path) -> BackupResult:
    """Holds a backup against the notes beside it, and reads it through. Raises UsageError, RefusedForSafety."""
    try:
        noted = json.loads(notes_of(file).read_bytes())
        size, digest = file.stat().st_size, _sha256(file)
    except (OSError, ValueError):
        raise UsageError(
            f"{file} and {notes_of(file)} are not a backup of hitl-bridge.", remedy="Both are needed: copy them together."
        ) from None
    if digest != noted.get("sha256"):
        raise RefusedForSafety(f"{file} was changed since it was made.", remedy="Take another backup; this one can't be trusted.")
    found = backups.look_into(file)
    _refuse_unlike(file, _noted(noted), found)
    return _result(file, size, digest, found, datetime.fromisoformat(noted["made_at"]))


def notes_of(file: Path) -> Path:
    return file.with_name(file.name + ".json")


def _refuse_unlike(target: Path, held: StoreCounts, found: StoreCounts) -> None:
    wrong = [name for name in held.rows if held.rows[name] != found.rows.get(name)]
    if (held.schema, held.head) != (found.schema, found.head) or wrong:
        raise RefusedForSafety(
            f"The backup {target} is not what the store held ({', '.join(wrong) or 'schema or audit log'}).",
            remedy="Take another one; if it happens again, report it.",
        )


def _put_in_place(partial: Path, target: Path, found: StoreCounts, now: datetime) -> BackupResult:
    result = _result(target, partial.stat().st_size, _sha256(partial), found, now)
    said = {"form": _FORM, "file": target.name, "sha256": result.sha256, "size": result.size, "made_at": now.isoformat()}
    said |= {"schema": found.schema, "audit_seq": found.head.seq, "audit_hash": found.head.hash, "rows": dict(found.rows)}
    notes = partial.with_name(partial.name + ".json")
    with _gone_afterwards(notes):
        notes.touch(mode=0o600)
        with notes.open("w", encoding="utf-8") as written:
            json.dump(said, written, indent=2, sort_keys=True)
            written.flush()
            os.fsync(written.fileno())
        # The notes first: a file without them is no backup yet, notes without a file are none either.
        notes.replace(result.notes)
    partial.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return result


def _result(file: Path, size: int, digest: str, found: StoreCounts, made_at: datetime) -> BackupResult:
    return BackupResult(
        file, notes_of(file), size, digest, found.schema, found.head.seq, found.head.hash, dict(found.rows), made_at
    )


def _noted(noted: Mapping[str, object]) -> StoreCounts:
    rows = noted.get("rows")
    head = AuditHead(int(str(noted.get("audit_seq", 0))), str(noted.get("audit_hash")))
    return StoreCounts(str(noted.get("schema")), head, rows if isinstance(rows, dict) else {})


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _gone_afterwards(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
