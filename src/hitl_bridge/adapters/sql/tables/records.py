"""What was taken back: by whom, why, which decisions, and which answers count no more."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import ForeignKeyConstraint, Index, PrimaryKeyConstraint

from hitl_bridge.adapters.sql.tables.columns import count, json_value, metadata, moment, text

reverts = sa.Table(
    "reverts",
    metadata,
    text("revert_id"),
    text("by"),
    text("reason"),
    json_value("scope"),  # what was asked for; a reviewer by pseudonym
    moment("at"),
    PrimaryKeyConstraint("revert_id"),
)

# The decisions that a revert wrote: a removal, or what held before once more.
reverted_decisions = sa.Table(
    "reverted_decisions",
    metadata,
    text("item_id"),
    count("revision"),
    count("seq"),
    text("revert_id"),
    json_value("taken_back"),  # the keys of the answers that count no more
    PrimaryKeyConstraint("item_id", "revision", "seq"),
    ForeignKeyConstraint(["revert_id"], ["reverts.revert_id"]),
)

# Answers that count no more, by `Annotation.key`: an edit of one has another key, and counts. A revert that is reverted takes
# its rows out again.
answers_taken_back = sa.Table(
    "answers_taken_back",
    metadata,
    text("annotation"),
    text("revert_id"),
    PrimaryKeyConstraint("annotation"),
    ForeignKeyConstraint(["revert_id"], ["reverts.revert_id"]),
    Index("ix_answers_taken_back_revert_id", "revert_id"),
)
