"""The tables of the bridge's memory. What must be unique is a constraint; what is asked often has an index.

Append-only: annotations, decisions, events; triggers refuse to change or delete rows of the first and the last. Input texts
lie in `payloads` alone, so that they can be erased.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Boolean, Column, ForeignKeyConstraint, Index, Integer, MetaData, PrimaryKeyConstraint, UniqueConstraint

from hitl_bridge.adapters.sql.column_types import Json, Moment, Number, Text

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

# SQLite numbers rows by itself only in a column that is exactly INTEGER.
_Id = sa.BigInteger().with_variant(Integer, "sqlite")


def _text(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Text(name), nullable=nullable)


def _json(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Json(name), nullable=nullable)


def _moment(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Moment(name), nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Number(name), nullable=nullable)


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


def _epoch() -> Column[int]:
    return Column("epoch", Integer, nullable=False, server_default="0")


def _remote_id(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, sa.BigInteger, nullable=nullable)


def _sequence() -> Column[Any]:
    return Column("id", _Id, primary_key=True, autoincrement=True)


def _some(condition: str) -> dict[str, Any]:
    """The condition of a partial index, in both dialects."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


batches = sa.Table(
    "batches",
    metadata,
    _text("batch_id"),
    _text("source"),
    _text("content_sha256"),
    _count("read"),
    _count("accepted"),
    _count("duplicates"),
    _count("problems"),
    _json("tiers"),
    _count("audits"),
    _count("items"),  # how many of the accepted need a person; the rest is auto-approved
    _moment("received_at"),
    PrimaryKeyConstraint("batch_id"),
)

receipt_files = sa.Table(
    "receipt_files",
    metadata,
    _sequence(),
    _text("batch_id"),
    _text("path"),
    _text("sha256"),
    _count("rows"),
    ForeignKeyConstraint(["batch_id"], ["batches.batch_id"]),
    UniqueConstraint("batch_id"),
)

items = sa.Table(
    "items",
    metadata,
    _text("item_id"),
    _count("revision"),
    _text("state"),
    _text("state_reason"),  # why it is quarantined or failed
    _count("round"),
    # The id of the newest annotation revision that nobody has looked at since the item was last settled; NULL: none.
    Column("needs_resolve", sa.BigInteger, nullable=True),
    # prediction (its input is in payloads)
    _json("output"),
    _number("confidence"),
    _text("model_version"),
    _json("scores"),
    _text("scenario", nullable=True),
    _json("attributes"),
    _text("predicted_at", nullable=True),
    # triage
    _text("triage_tier"),
    _number("risk"),
    _text("triage_reason"),
    _text("purpose"),
    _text("split"),
    _text("policy_version"),
    _number("audit_rate"),
    _number("uniform_rate"),
    _text("rule", nullable=True),
    _flag("edge"),
    # route
    _text("pool"),
    _text("tier"),
    _count("reviewers"),
    _moment("due_at"),
    _number("priority"),
    _flag("blind"),
    _text("route_reason"),
    _text("batch_id"),
    _moment("received_at"),
    PrimaryKeyConstraint("item_id", "revision"),
    ForeignKeyConstraint(["batch_id"], ["batches.batch_id"]),
    Index("ix_items_state", "state", "priority", "item_id"),
    Index("ix_items_due", "state", "due_at"),
    Index("ix_items_purpose", "purpose"),
    Index("ix_items_needs_resolve", "item_id", "revision", **_some("needs_resolve IS NOT NULL")),
)

payloads = sa.Table(
    "payloads",
    metadata,
    _text("item_id"),
    _count("revision"),
    _json("input"),
    PrimaryKeyConstraint("item_id", "revision"),
    ForeignKeyConstraint(["item_id", "revision"], ["items.item_id", "items.revision"]),
)

projects = sa.Table(
    "projects",
    metadata,
    _text("pool"),
    _text("tier"),
    _count("part"),
    _remote_id("project_id"),
    _text("title"),
    _text("url"),
    _text("label_config_sha256"),
    _epoch(),  # counts the times that the labeling service was restored from a backup
    PrimaryKeyConstraint("pool", "tier", "part"),
    UniqueConstraint("project_id"),
)

review_tasks = sa.Table(
    "review_tasks",
    metadata,
    _text("push_key"),
    _text("item_id"),
    _count("revision"),
    _count("round"),
    _count("seat"),
    _text("pool"),
    _text("tier"),
    _count("part"),
    _text("state"),
    _text("state_reason"),  # why it was rejected
    _remote_id("project_id", nullable=True),
    _remote_id("task_id", nullable=True),
    _text("task_created_at", nullable=True),
    _moment("sent_at", nullable=True),
    PrimaryKeyConstraint("push_key"),
    UniqueConstraint("item_id", "revision", "round", "seat"),
    ForeignKeyConstraint(["item_id", "revision"], ["items.item_id", "items.revision"]),
    Index("ix_review_tasks_state", "state", "pool", "tier", "part"),
)

# No foreign key on push_key: what a reviewer did is kept even where the bridge has forgotten the task.
# Not called `annotations` in Python: `from __future__ import annotations` takes that name.
annotation_revisions = sa.Table(
    "annotations",
    metadata,
    _sequence(),
    _remote_id("project_id"),
    _remote_id("task_id"),
    _remote_id("annotation_id"),
    _text("push_key"),
    _text("created_at"),
    _text("updated_at"),
    _text("reviewer"),
    _text("updated_by"),
    _text("state"),
    _json("answer", nullable=True),
    _json("result"),
    _number("lead_time", nullable=True),
    _text("reason"),
    _moment("recorded_at"),
    _epoch(),
    UniqueConstraint("project_id", "annotation_id", "task_id", "created_at", "updated_at", "state", "epoch"),
    Index("ix_annotations_push_key", "push_key"),
    Index("ix_annotations_quarantined", "project_id", "annotation_id", **_some("state = 'quarantined'")),
)

dataset_versions = sa.Table(
    "dataset_versions",
    metadata,
    _sequence(),
    _text("version"),
    _text("tag"),
    _text("git_commit"),
    _count("added"),
    _count("changed"),
    _count("removed"),
    _moment("committed_at"),
    UniqueConstraint("version"),
)

decisions = sa.Table(
    "decisions",
    metadata,
    _text("item_id"),
    _count("revision"),
    _count("seq"),
    _text("op"),
    _text("outcome"),
    _json("output", nullable=True),
    _text("rationale"),
    _json("reviewers"),
    _json("annotations"),
    _number("agreement"),
    _count("round"),
    _moment("decided_at"),
    _text("version", nullable=True),
    PrimaryKeyConstraint("item_id", "revision", "seq"),
    ForeignKeyConstraint(["item_id", "revision"], ["items.item_id", "items.revision"]),
    ForeignKeyConstraint(["version"], ["dataset_versions.version"]),
    Index("ix_decisions_uncommitted", "item_id", "revision", "seq", **_some("version IS NULL")),
)

cursors = sa.Table(
    "cursors",
    metadata,
    _remote_id("project_id"),
    _text("position", nullable=True),
    _moment("at"),
    _moment("swept_at", nullable=True),  # when the whole project was last compared with what we know
    Column("strangers", Integer, nullable=False, server_default="0"),  # tasks there that were not ours then
    PrimaryKeyConstraint("project_id"),
)

# Tasks that the labeling service itself can't show: what is in them is not known, and that is.
unreadable_tasks = sa.Table(
    "unreadable_tasks",
    metadata,
    _remote_id("project_id"),
    _remote_id("task_id"),
    _text("reason"),
    _moment("since"),
    PrimaryKeyConstraint("project_id", "task_id"),
)

# What a person said of an annotation revision in quarantine.
rulings = sa.Table(
    "rulings",
    metadata,
    Column("annotation", _Id, nullable=False),
    _text("verdict"),  # accept or drop
    _json("answer", nullable=True),
    _text("by"),
    _text("reason"),
    _moment("at"),
    PrimaryKeyConstraint("annotation"),
    ForeignKeyConstraint(["annotation"], ["annotations.id"]),
)

# Tries that were begun and not ended: what is left over is what somebody died of.
attempts = sa.Table(
    "attempts",
    metadata,
    _text("step"),
    _text("subject"),
    _count("count"),
    _moment("at"),
    PrimaryKeyConstraint("step", "subject"),
)

# Who may write: the holder of the newest token of a scope. `beat` moves while the holder lives.
leases = sa.Table(
    "leases",
    metadata,
    _text("scope"),
    Column("token", sa.BigInteger, nullable=False),
    _text("holder"),
    Column("beat", sa.BigInteger, nullable=False),
    PrimaryKeyConstraint("scope"),
)

access_tokens = sa.Table(
    "access_tokens",
    metadata,
    _text("name"),
    _text("sha256"),
    _moment("created_at"),
    _moment("revoked_at", nullable=True),
    PrimaryKeyConstraint("name"),
    UniqueConstraint("sha256"),
)

meta = sa.Table("meta", metadata, _text("name"), _text("value"), PrimaryKeyConstraint("name"))

# The audit log: each row carries the hash of the one before it (see `audit_log`).
events = sa.Table(
    "events",
    metadata,
    Column("seq", _Id, nullable=False, autoincrement=False),  # without gaps, from 1
    _moment("at"),
    _text("actor"),
    _text("action"),
    _text("item_id", nullable=True),
    _json("detail"),
    _text("before", nullable=True),
    _text("after", nullable=True),
    _text("fingerprint"),  # SHA-256 of the columns above but `seq`: the same event twice is one
    _text("prev_hash"),
    _text("hash"),
    PrimaryKeyConstraint("seq"),
    UniqueConstraint("fingerprint"),
    UniqueConstraint("prev_hash"),
    UniqueConstraint("hash"),
    Index("ix_events_item_id", "item_id", "seq"),
    Index("ix_events_action", "action", "seq"),
)
