"""What `acknowledging_writer` was told, and what is in the store."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.adapters.sql.tables import annotation_revisions, events


def read_until_killed(command: Sequence[str], root: Path, *, after: int) -> set[int]:
    """Kills the writer (SIGKILL) when it has acknowledged `after` writes, in the midst of the next ones."""
    acknowledged: set[int] = set()
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().isdigit():
                acknowledged.add(int(line))
            if len(acknowledged) == after:
                process.kill()
    return acknowledged


def written(store: SqlStore) -> set[int]:
    """The numbers of all writes that are there; none is there twice."""
    with reading(store.engine) as connection:
        ticks = connection.execute(sa.select(events.c.detail).where(events.c.action == "tick")).scalars().all()
        revisions = connection.execute(sa.select(annotation_revisions.c.annotation_id)).scalars().all()
    numbers = [tick["number"] for tick in ticks] + list(revisions)
    assert len(set(numbers)) == len(numbers)
    return set(numbers)
