"""Who may write, who may ask, and the log of all that happened."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Index, PrimaryKeyConstraint, UniqueConstraint

from hitl_bridge.adapters.sql.tables.columns import RowId, json_value, metadata, moment, text

# Who may write: the holder of the newest token of a scope. `beat` moves while the holder lives.
leases = sa.Table(
    "leases",
    metadata,
    text("scope"),
    Column("token", sa.BigInteger, nullable=False),
    text("holder"),
    Column("beat", sa.BigInteger, nullable=False),
    PrimaryKeyConstraint("scope"),
)

access_tokens = sa.Table(
    "access_tokens",
    metadata,
    text("name"),
    text("sha256"),
    moment("created_at"),
    moment("revoked_at", nullable=True),
    PrimaryKeyConstraint("name"),
    UniqueConstraint("sha256"),
)

meta = sa.Table("meta", metadata, text("name"), text("value"), PrimaryKeyConstraint("name"))

# The audit log: each row carries the hash of the one before it (see `audit_log`).
events = sa.Table(
    "events",
    metadata,
    Column("seq", RowId, nullable=False, autoincrement=False),  # without gaps, from 1
    moment("at"),
    text("actor"),
    text("action"),
    text("item_id", nullable=True),
    json_value("detail"),
    text("before", nullable=True),
    text("after", nullable=True),
    text("fingerprint"),  # SHA-256 of the columns above but `seq`: the same event twice is one
    text("prev_hash"),
    text("hash"),
    PrimaryKeyConstraint("seq"),
    UniqueConstraint("fingerprint"),
    UniqueConstraint("prev_hash"),
    UniqueConstraint("hash"),
    Index("ix_events_item_id", "item_id", "seq"),
    Index("ix_events_action", "action", "seq"),
)
