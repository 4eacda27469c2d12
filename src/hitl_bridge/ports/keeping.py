"""Keeping the memory safe: copies of it, and who may ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from hitl_bridge.ports.audit import AuditHead, Event


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """What a store held at one moment: its schema, the head of its audit log, and the rows of each table."""

    schema: str
    head: AuditHead
    rows: Mapping[str, int]


class Backups(Protocol):
    """Copies of the store, made while it is in use."""

    def suffix(self) -> str:
        """The end of a backup's name: `.db`, `.dump`."""

    def copy(self, target: Path) -> StoreCounts:
        """Writes one moment of the store to the new file `target`, durable when this returns; returns what the store held at
        that moment. Raises OutsideUnavailable or UsageError where it can't be done."""

    def look_into(self, copy: Path) -> StoreCounts:
        """Reads a copy through and through, changing nothing. Raises RefusedForSafety if it is damaged."""


class RestoredStore(Protocol):
    """What a store is asked when it may have been restored from a backup."""

    def knows(self, head: AuditHead) -> bool:
        """Whether the audit log has this row with this hash."""

    def remembered(self, name: str) -> str | None: ...
    def accept_restored(self, notes: Mapping[str, str], event: Event) -> None:
        """Forgets all cursors (everything is read again from the start), keeps `notes` and writes the event, at once."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """Who may ask the daemon: a `name` and the SHA-256 (hex) of a token that is kept nowhere."""

    name: str
    sha256: str = field(repr=False)
    created_at: datetime
    revoked_at: datetime | None


class AccessTokens(Protocol):
    """What is known of tokens. `by` is the person who did it, for the audit log."""

    def add(self, name: str, sha256: str, at: datetime, by: str) -> bool:
        """False if the name was used before."""

    def all(self) -> Sequence[AccessToken]:
        """Oldest first, revoked ones too."""

    def revoke(self, name: str, at: datetime, by: str) -> bool:
        """False if no such token is in force."""
