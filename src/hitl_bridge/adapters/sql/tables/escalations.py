"""Steps taken for items that are late."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint

from hitl_bridge.adapters.sql.tables.columns import count, metadata, moment, text

escalations = sa.Table(
    "escalations",
    metadata,
    text("item_id"),
    count("revision"),
    count("round"),
    text("step"),
    moment("at"),
    PrimaryKeyConstraint("item_id", "revision", "round", "step"),
    ForeignKeyConstraint(["item_id", "revision"], ["items.item_id", "items.revision"]),
)
