"""Predictions that were answered one by one."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKeyConstraint, Index, PrimaryKeyConstraint, UniqueConstraint

from hitl_bridge.adapters.sql.tables.columns import count, flag, json_value, metadata, moment, text

# Predictions that were answered one by one: the receipt that was given, until a flush has put it into a file, and a while after.
online_predictions = sa.Table(
    "online_predictions",
    metadata,
    Column("seq", sa.BigInteger, nullable=False, autoincrement=False),  # in the order of the commits; never given twice
    text("item_id"),
    count("revision"),
    text("model_version"),
    text("input_digest"),
    text("content_digest"),
    flag("asked"),  # a person is to see the item
    text("receipt"),  # canonical JSON, word for word what was answered
    moment("received_at"),
    PrimaryKeyConstraint("seq"),
    UniqueConstraint("item_id", "model_version", "input_digest"),
)

# Those of them that a person is to see, until the flush makes them items.
online_items = sa.Table(
    "online_items",
    metadata,
    Column("seq", sa.BigInteger, nullable=False, autoincrement=False),
    json_value("item"),
    json_value("input"),
    PrimaryKeyConstraint("seq"),
    ForeignKeyConstraint(["seq"], ["online_predictions.seq"]),
)

# What was flushed as one batch: every online prediction up to this number that was not flushed before.
online_flushes = sa.Table(
    "online_flushes",
    metadata,
    text("batch_id"),
    Column("up_to", sa.BigInteger, nullable=False),
    PrimaryKeyConstraint("batch_id"),
    ForeignKeyConstraint(["batch_id"], ["batches.batch_id"]),
    Index("ix_online_flushes_up_to", "up_to"),
)

# Idempotency keys of requests, by who asked, with a keyed digest of what was asked.
online_keys = sa.Table(
    "online_keys",
    metadata,
    text("caller"),
    text("key"),
    text("request_digest"),
    moment("at"),
    PrimaryKeyConstraint("caller", "key"),
    Index("ix_online_keys_at", "at"),
)
