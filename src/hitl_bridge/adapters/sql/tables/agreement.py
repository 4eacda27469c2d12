"""Items whose answer is known."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import PrimaryKeyConstraint

from hitl_bridge.adapters.sql.tables.columns import json_value, metadata, moment, text

gold_items = sa.Table(
    "gold_items",
    metadata,
    text("item_id"),
    json_value("output", nullable=True),  # NULL: no label fits
    text("by"),
    moment("at"),
    PrimaryKeyConstraint("item_id"),
)
