"""The work: what came in, its tasks, its answers, its decisions."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKeyConstraint, Index, Integer, PrimaryKeyConstraint, UniqueConstraint

from hitl_bridge.adapters.sql.tables.columns import (
    RowId,
    count,
    epoch,
    flag,
    json_value,
    metadata,
    moment,
    number,
    remote_id,
    sequence,
    text,
    where,
)

batches = sa.Table(
    "batches",
    metadata,
    text("batch_id"),
    text("source"),
    text("content_sha256"),
    count("read"),
    count("accepted"),
    count("duplicates"),
    count("problems"),
    json_value("tiers"),
    count("audits"),
    count("items"),  # how many of the accepted need a person; the rest is auto-approved
    moment("received_at"),
    PrimaryKeyConstraint("batch_id"),
)

receipt_files = sa.Table(
    "receipt_files",
    metadata,
    sequence(),
    text("batch_id"),
    text("path"),
    text("sha256"),
    count("rows"),
    ForeignKeyConstraint(["batch_id"], ["batches.batch_id"]),
    UniqueConstraint("batch_id"),
)

items = sa.Table(
    "items",
    metadata,
    text("item_id"),
    count("revision"),
    text("state"),
    text("state_reason"),  # why it is quarantined or failed
    count("round"),
    # The id of the newest annotation revision that nobody has looked at since the item was last settled; NULL: none.
    Column("needs_resolve", sa.BigInteger, nullable=True),
    # prediction (its input is in payloads)
    json_value("output"),
    number("confidence"),
    text("model_version"),
    json_value("scores"),
    text("scenario", nullable=True),
    json_value("attributes"),
    text("predicted_at", nullable=True),
    # triage
    text("triage_tier"),
    number("risk"),
    text("triage_reason"),
    text("purpose"),
    text("split"),
    text("policy_version"),
    number("audit_rate"),
    number("uniform_rate"),
    text("rule", nullable=True),
    flag("edge"),
    number("blind_rate", nullable=True),  # with which its review was drawn to be blind
    # route
    text("pool"),
    text("tier"),
    count("reviewers"),
    moment("due_at"),
    number("priority"),
    flag("blind"),
    text("route_reason"),
    text("note", nullable=True),  # for the reviewers of this round: why they are asked again
    text("batch_id"),
    moment("received_at"),
    PrimaryKeyConstraint("item_id", "revision"),
    ForeignKeyConstraint(["batch_id"], ["batches.batch_id"]),
    Index("ix_items_state", "state", "priority", "item_id"),
    Index("ix_items_due", "state", "due_at"),
    Index("ix_items_purpose", "purpose"),
    Index("ix_items_needs_resolve", "item_id", "revision", **where("needs_resolve IS NOT NULL")),
)

payloads = sa.Table(
    "payloads",
    metadata,
    text("item_id"),
    count("revision"),
    json_value("input"),
    PrimaryKeyConstraint("item_id", "revision"),
    ForeignKeyConstraint(["item_id", "revision"], ["items.item_id", "items.revision"]),
)

projects = sa.Table(
    "projects",
    metadata,
    text("pool"),
    text("tier"),
    count("part"),
    remote_id("project_id"),
    text("title"),
    text("url"),
    text("label_config_sha256"),
    epoch(),  # counts the times that the labeling service was restored from a backup
    PrimaryKeyConstraint("pool", "tier", "part"),
    UniqueConstraint("project_id"),
)

review_tasks = sa.Table(
    "review_tasks",
    metadata,
    text("push_key"),
    text("item_id"),
    count("revision"),
    count("round"),
    count("seat"),
    text("pool"),
    text("tier"),
    count("part"),
    text("state"),
    text("state_reason"),  # why it was rejected
    remote_id("project_id", nullable=True),
    remote_id("task_id", nullable=True),
    text("task_created_at", nullable=True),
    moment("sent_at", nullable=True),
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
    sequence(),
    remote_id("project_id"),
    remote_id("task_id"),
    remote_id("annotation_id"),
    text("push_key"),
    text("created_at"),
    text("updated_at"),
    text("reviewer"),
    text("updated_by"),
    text("state"),
    json_value("answer", nullable=True),
    json_value("result"),
    number("lead_time", nullable=True),
    text("reason"),
    moment("recorded_at"),
    epoch(),
    UniqueConstraint("project_id", "annotation_id", "task_id", "created_at", "updated_at", "state", "epoch"),
    Index("ix_annotations_push_key", "push_key"),
    Index("ix_annotations_quarantined", "project_id", "annotation_id", **where("state = 'quarantined'")),
)

dataset_versions = sa.Table(
    "dataset_versions",
    metadata,
    sequence(),
    text("version"),
    text("tag"),
    text("git_commit"),
    count("added"),
    count("changed"),
    count("removed"),
    moment("committed_at"),
    UniqueConstraint("version"),
)

decisions = sa.Table(
    "decisions",
    metadata,
    text("item_id"),
    count("revision"),
    count("seq"),
    text("op"),
    text("outcome"),
    json_value("output", nullable=True),
    text("rationale"),
    json_value("reviewers"),
    json_value("annotations"),
    number("agreement"),
    count("round"),
    moment("decided_at"),
    json_value("reason_codes", nullable=True),
    number("probability", nullable=True),
    text("scenario", nullable=True),  # as reviewers tagged it
    text("version", nullable=True),
    PrimaryKeyConstraint("item_id", "revision", "seq"),
    ForeignKeyConstraint(["item_id", "revision"], ["items.item_id", "items.revision"]),
    ForeignKeyConstraint(["version"], ["dataset_versions.version"]),
    Index("ix_decisions_uncommitted", "item_id", "revision", "seq", **where("version IS NULL")),
)

cursors = sa.Table(
    "cursors",
    metadata,
    remote_id("project_id"),
    text("position", nullable=True),
    moment("at"),
    moment("swept_at", nullable=True),  # when the whole project was last compared with what we know
    Column("strangers", Integer, nullable=False, server_default="0"),  # tasks there that were not ours then
    PrimaryKeyConstraint("project_id"),
)

# Tasks that the labeling service itself can't show: what is in them is not known, and that is.
unreadable_tasks = sa.Table(
    "unreadable_tasks",
    metadata,
    remote_id("project_id"),
    remote_id("task_id"),
    text("reason"),
    moment("since"),
    PrimaryKeyConstraint("project_id", "task_id"),
)

# What a person said of an annotation revision in quarantine.
rulings = sa.Table(
    "rulings",
    metadata,
    Column("annotation", RowId, nullable=False),
    text("verdict"),  # accept or drop
    json_value("answer", nullable=True),
    text("by"),
    text("reason"),
    moment("at"),
    PrimaryKeyConstraint("annotation"),
    ForeignKeyConstraint(["annotation"], ["annotations.id"]),
)

# Tries that were begun and not ended: what is left over is what somebody died of.
attempts = sa.Table(
    "attempts",
    metadata,
    text("step"),
    text("subject"),
    count("count"),
    moment("at"),
    PrimaryKeyConstraint("step", "subject"),
)

# Items that wait for room in the review budget, and how each was picked at last; nothing of what never waited.
waits = sa.Table(
    "waits",
    metadata,
    text("item_id"),
    count("revision"),
    moment("since"),
    moment("picked_at", nullable=True),
    text("arm", nullable=True),  # doubt, chance or all
    number("probability", nullable=True),  # of being drawn by chance, in the selection that picked it
    PrimaryKeyConstraint("item_id", "revision"),
    ForeignKeyConstraint(["item_id", "revision"], ["items.item_id", "items.revision"]),
    Index("ix_waits_picked_at", "picked_at"),
)
