"""Known items that the bridge can ask by itself, whom it has asked, and who is still learning."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint, UniqueConstraint

from hitl_bridge.adapters.sql.tables.columns import count, json_value, metadata, moment, text

# The prediction of a gold item as it came, with its input: without it the bridge can't show the item to anybody.
gold_bank = sa.Table(
    "gold_bank",
    metadata,
    text("item_id"),
    json_value("row"),
    text("why", nullable=True),  # what a learner who erred is told
    text("by"),
    moment("at"),
    PrimaryKeyConstraint("item_id"),
)

# A row for each gold item that was mixed in (beside another item) or given to a learner (`person`).
gold_asked = sa.Table(
    "gold_asked",
    metadata,
    text("item_id"),
    count("revision"),
    text("gold_id"),
    text("beside", nullable=True),  # item#revision
    text("pool"),
    text("person", nullable=True),
    moment("at"),
    PrimaryKeyConstraint("item_id", "revision"),
    ForeignKeyConstraint(["item_id", "revision"], ["items.item_id", "items.revision"]),
    UniqueConstraint("beside"),
)

# Whose answers do not count yet (passed_at is NULL), and from when on those of others do.
onboardings = sa.Table(
    "onboardings",
    metadata,
    text("pool"),
    text("person"),
    moment("since"),
    moment("passed_at", nullable=True),
    PrimaryKeyConstraint("pool", "person"),
)
