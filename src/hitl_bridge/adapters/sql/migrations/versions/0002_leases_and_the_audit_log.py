"""Leases, the chained audit log, and what a person settles.

The events that were there become the first rows of the chain, in their order. Annotations and decisions of that time have no
digest in it: the event `audit_began` says up to where.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from hitl_bridge.adapters.sql import audit_log
from hitl_bridge.adapters.sql.column_types import canonical_json, moment_text
from hitl_bridge.ports import AuditHead, Event

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_UNIQUE = "uq_annotations_project_id"
_IDENTITY = ["project_id", "annotation_id", "task_id", "created_at", "updated_at", "state"]
_FORBIDDEN = {"events": "the audit log", "annotations": "the log of annotations"}


def upgrade() -> None:
    _epochs()
    _new_tables()
    _events()
    for table, what in _FORBIDDEN.items():
        _forbid_changes(table, what)


def _epochs() -> None:
    op.add_column("projects", sa.Column("epoch", sa.Integer(), server_default="0", nullable=False))
    op.add_column("cursors", sa.Column("swept_at", sa.Text(), nullable=True))
    op.add_column("cursors", sa.Column("strangers", sa.Integer(), server_default="0", nullable=False))
    with op.batch_alter_table("annotations") as table:
        table.add_column(sa.Column("epoch", sa.Integer(), server_default="0", nullable=False))
        table.drop_constraint(_UNIQUE, type_="unique")
        table.create_unique_constraint(_UNIQUE, [*_IDENTITY, "epoch"])


def _new_tables() -> None:
    op.create_table(
        "unreadable_tasks",
        sa.Column("project_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "task_id", name="pk_unreadable_tasks"),
    )
    op.create_table(
        "rulings",
        sa.Column("annotation", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("annotation", name="pk_rulings"),
        sa.ForeignKeyConstraint(["annotation"], ["annotations.id"], name="fk_rulings_annotations"),
    )
    op.create_table(
        "attempts",
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("step", "subject", name="pk_attempts"),
    )
    op.create_table(
        "leases",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", name="pk_leases"),
    )
    op.create_table(
        "access_tokens",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_access_tokens"),
        sa.UniqueConstraint("sha256", name="uq_access_tokens_sha256"),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )


def _events() -> None:
    connection = op.get_bind()
    before = connection.execute(sa.text("SELECT at, action, item_id, detail FROM events ORDER BY id")).mappings().all()
    op.drop_table("events")
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
        sa.UniqueConstraint("fingerprint", name="uq_events_fingerprint"),
        sa.UniqueConstraint("prev_hash", name="uq_events_prev_hash"),
        sa.UniqueConstraint("hash", name="uq_events_hash"),
    )
    op.create_index("ix_events_action", "events", ["action", "seq"])
    op.create_index("ix_events_item_id", "events", ["item_id", "seq"])
    _chain_what_was_there(connection, before)


def _chain_what_was_there(connection: sa.Connection, before: Any) -> None:
    import json

    told = [Event(datetime.fromisoformat(row["at"]), row["action"], row["item_id"], json.loads(row["detail"])) for row in before]
    newest = connection.execute(sa.text("SELECT MAX(id) FROM annotations")).scalar()
    decided = connection.execute(sa.text("SELECT MAX(decided_at) FROM decisions")).scalar()
    if told:
        detail = {"annotations": newest or 0, "at": decided or ""}
        told.append(Event(told[-1].at, audit_log.BEGAN, detail=detail))
    last = audit_log.GENESIS
    for event in told:
        print_ = audit_log.fingerprint(event)
        following = AuditHead(last.seq + 1, audit_log.chain_hash(last.seq + 1, last.hash, print_))
        connection.execute(_INSERT, _row(event, print_, last, following))
        last = following


_INSERT = sa.text(
    'INSERT INTO events (seq, at, actor, action, item_id, detail, "before", "after", fingerprint, prev_hash, hash) '
    "VALUES (:seq, :at, :actor, :action, :item_id, :detail, NULL, NULL, :fingerprint, :prev_hash, :hash)"
)


def _row(event: Event, print_: str, last: AuditHead, following: AuditHead) -> dict[str, Any]:
    return {
        "seq": following.seq,
        "at": moment_text(event.at, "at"),
        "actor": event.actor,
        "action": event.action,
        "item_id": event.item_id,
        "detail": canonical_json(event.detail, "detail"),
        "fingerprint": print_,
        "prev_hash": last.hash,
        "hash": following.hash,
    }


def _forbid_changes(table: str, what: str) -> None:
    said = f"rows of {what} can not be changed or removed"
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{said}'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_are_kept() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{said}' USING ERRCODE = 'restrict_violation'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_are_kept()"
    )
