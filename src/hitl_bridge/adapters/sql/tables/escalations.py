"""Steps taken for items that are late, and what people are told, until it is sent."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKeyConstraint, Index, PrimaryKeyConstraint, UniqueConstraint

from hitl_bridge.adapters.sql.tables.columns import RowId, count, json_value, metadata, moment, sequence, text, where

late_steps = sa.Table(
    "late_steps",
    metadata,
    text("item_id"),
    count("revision"),
    moment("due_at"),  # the deadline that was missed: rounds that keep it are not told of again
    text("step"),
    count("round"),
    moment("at"),
    PrimaryKeyConstraint("item_id", "revision", "due_at", "step"),
    ForeignKeyConstraint(["item_id", "revision"], ["items.item_id", "items.revision"]),
)

# What was put together for one channel: written before it is sent, so that it is sent again until it was taken.
messages = sa.Table(
    "messages",
    metadata,
    sequence(),
    text("channel"),
    text("title"),
    text("body"),
    count("notices"),
    moment("at"),
    count("tries"),
    moment("tried_at", nullable=True),
    moment("sent_at", nullable=True),
    Index("ix_messages_channel", "channel", "id"),
)

# The outbox: what is to be told on which channel, each thing once.
notices = sa.Table(
    "notices",
    metadata,
    sequence(),
    text("kind"),
    text("subject"),
    text("channel"),
    json_value("said"),
    moment("at"),
    Column("message", RowId, nullable=True),
    UniqueConstraint("kind", "subject", "channel"),
    ForeignKeyConstraint(["message"], ["messages.id"]),
    Index("ix_notices_waiting", "channel", "id", **where("message IS NULL")),
)
