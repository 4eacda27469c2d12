"""What persons said of revisions in quarantine, laid over the revisions as they came. These stay as they are for ever."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from hitl_bridge.adapters.sql.statements import chunks
from hitl_bridge.adapters.sql.tables import rulings
from hitl_bridge.core.model import AnnotationState

ACCEPT, DROP = "accept", "drop"

RevisionRow: TypeAlias = Mapping[Any, Any]
"""A row of `annotations`, as it is or with a ruling laid over it."""


def with_rulings(connection: Connection, rows: Iterable[RevisionRow]) -> list[RevisionRow]:
    """The rows, those that a person has accepted as answers of their authors. Costs a query only where there is quarantine."""
    given = list(rows)
    in_question = [row["id"] for row in given if row["state"] == AnnotationState.QUARANTINED]
    accepted = {row.annotation: row for row in _ruled(connection, in_question) if row.verdict == ACCEPT}
    return [_accepted(row, accepted[row["id"]]) if row["id"] in accepted else row for row in given]


def ruled_on(connection: Connection, numbers: Sequence[int]) -> set[int]:
    """Of these revisions those on which somebody has ruled, either way."""
    return {row.annotation for row in _ruled(connection, numbers)}


def _ruled(connection: Connection, numbers: Sequence[int]) -> list[sa.Row[Any]]:
    return [
        row for some in chunks(numbers) for row in connection.execute(sa.select(rulings).where(rulings.c.annotation.in_(some)))
    ]


def _accepted(row: RevisionRow, ruling: sa.Row[Any]) -> RevisionRow:
    return {**row, "state": AnnotationState.ANSWER.value, "answer": ruling.answer, "reason": f"accepted: {ruling.reason}"}
