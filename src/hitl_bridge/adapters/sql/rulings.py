"""What persons said of revisions, laid over them as they came: those in quarantine that count, those taken back that count no
more. The revisions stay as they are for ever."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from hitl_bridge.adapters.sql.statements import chunks
from hitl_bridge.adapters.sql.tables import annotation_revisions, answers_taken_back, rulings
from hitl_bridge.core.model import AnnotationState

ACCEPT, DROP = "accept", "drop"
TAKEN_BACK = "taken_back"
"""Set in rows of answers that a revert took back."""

RULED_COLUMNS = tuple(
    annotation_revisions.c[name] for name in ("id", "project_id", "annotation_id", "updated_at", "state", "answer")
)
"""What `with_rulings` reads of a revision, or lays over it."""

RevisionRow: TypeAlias = Mapping[Any, Any]
"""A row of `annotation_revisions` (at least `RULED_COLUMNS`), as it is or with a ruling laid over it."""


def with_rulings(connection: Connection, rows: Iterable[RevisionRow]) -> list[RevisionRow]:
    """The rows; those that a person has accepted as answers of their authors, those that were taken back as what counts not.

    Costs a query where there is quarantine, and one for each chunk of answers.
    """
    given = list(rows)
    in_question = [row["id"] for row in given if row["state"] == AnnotationState.QUARANTINED]
    accepted = {row.annotation: row for row in _ruled(connection, in_question) if row.verdict == ACCEPT}
    ruled = [_accepted(row, accepted[row["id"]]) if row["id"] in accepted else row for row in given]
    gone = _taken_back(connection, ruled)
    return [_without(row) if _key(row) in gone else row for row in ruled] if gone else ruled


def _taken_back(connection: Connection, rows: Sequence[RevisionRow]) -> set[str]:
    keys = sorted({_key(row) for row in rows if row["state"] == AnnotationState.ANSWER})
    column = answers_taken_back.c.annotation
    return {key for some in chunks(keys) for key in connection.execute(sa.select(column).where(column.in_(some))).scalars()}


def _key(row: RevisionRow) -> str:
    """`Annotation.key`."""
    return f"{row['project_id']}/{row['annotation_id']}@{row['updated_at']}"


def _without(row: RevisionRow) -> RevisionRow:
    """It still takes a seat in Label Studio, as one in quarantine does."""
    if row["state"] != AnnotationState.ANSWER:
        return row
    return {**row, "state": AnnotationState.QUARANTINED.value, "reason": "taken back", TAKEN_BACK: True}


def ruled_on(connection: Connection, numbers: Sequence[int]) -> set[int]:
    """Of these revisions those on which somebody has ruled, either way."""
    return {row.annotation for row in _ruled(connection, numbers)}


def _ruled(connection: Connection, numbers: Sequence[int]) -> list[sa.Row[Any]]:
    return [
        row for some in chunks(numbers) for row in connection.execute(sa.select(rulings).where(rulings.c.annotation.in_(some)))
    ]


def _accepted(row: RevisionRow, ruling: sa.Row[Any]) -> RevisionRow:
    return {**row, "state": AnnotationState.ANSWER.value, "answer": ruling.answer, "reason": f"accepted: {ruling.reason}"}
