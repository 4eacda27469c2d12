"""Sign-offs, and the models that were put into production. Append-only, by triggers: what is said here is also in the log."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Integer, PrimaryKeyConstraint, UniqueConstraint

from hitl_bridge.adapters.sql.tables.columns import count, flag, json_value, metadata, moment, sequence, text

sign_offs = sa.Table(
    "sign_offs",
    metadata,
    sequence(),
    text("kind"),
    text("subject"),
    count("number"),
    json_value("statement"),
    text("approver"),
    text("method"),
    text("proof"),
    text("reason"),
    moment("at"),
    UniqueConstraint("kind", "number"),
)

champions = sa.Table(
    "champions",
    metadata,
    Column("number", Integer, nullable=False, autoincrement=False),
    text("artifact"),
    text("model_version"),
    text("version"),
    json_value("files"),
    count("signed_off"),
    text("git_commit"),
    json_value("tags"),
    text("by"),
    text("reason"),
    flag("rolled_back"),
    moment("at"),
    PrimaryKeyConstraint("number"),
)
