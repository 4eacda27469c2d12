"""Copies of a SQLite database that is in use."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from hitl_bridge.errors import StoreUnavailable


def copy_pages(source: sqlite3.Connection, target: Path) -> None:
    """All pages in one step: one moment of the source, whoever writes to it meanwhile. Raises StoreUnavailable."""
    try:
        with closing(sqlite3.connect(target, isolation_level=None)) as copy:
            source.backup(copy, pages=-1)
            # The copy inherits the WAL mode, and with it files beside it: a backup should be one file.
            copy.execute("PRAGMA journal_mode = DELETE").close()
    except sqlite3.Error as error:
        remedy = "Check that the folder exists, that you may write there and that the disk is not full."
        raise StoreUnavailable(f"The backup {target} can't be written: {error}.", remedy=remedy) from error


def make_durable(path: Path) -> None:
    """On the disk when this returns, and its owner's alone."""
    path.chmod(0o600)
    with path.open("rb") as written:
        os.fsync(written.fileno())
