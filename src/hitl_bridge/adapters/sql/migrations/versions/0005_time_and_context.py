"""What keeping deadlines, telling people, gold and the context on a review page need."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _notices()
    _context()
    _gold()
    _spans()


def _notices() -> None:
    """Steps of a deadline, by the deadline and no more by the round; and what people are told, until it is sent."""
    op.create_table(
        "late_steps",
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", "revision", "due_at", "step", name="pk_late_steps"),
        sa.ForeignKeyConstraint(["item_id", "revision"], ["items.item_id", "items.revision"], name="fk_late_steps_items"),
    )
    op.execute(
        "INSERT INTO late_steps (item_id, revision, due_at, step, round, at)"
        " SELECT e.item_id, e.revision, i.due_at, e.step, e.round, e.at FROM escalations e"
        " JOIN items i ON i.item_id = e.item_id AND i.revision = e.revision AND i.round = e.round"
    )
    op.drop_table("escalations")
    op.create_table(
        "messages",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("notices", sa.Integer(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("tried_at", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
    )
    op.create_index("ix_messages_channel", "messages", ["channel", "id"])
    op.create_table(
        "notices",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("message", _ID, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_notices"),
        sa.UniqueConstraint("kind", "subject", "channel", name="uq_notices_kind"),
        sa.ForeignKeyConstraint(["message"], ["messages.id"], name="fk_notices_messages"),
    )
    waits = sa.text("message IS NULL")
    op.create_index("ix_notices_waiting", "notices", ["channel", "id"], sqlite_where=waits, postgresql_where=waits)


def _context() -> None:
    """The scenario that reviewers say an item belongs to."""
    op.add_column("decisions", sa.Column("scenario", sa.Text(), nullable=True))


def _gold() -> None:
    """Known items that the bridge asks by itself, and whose answers do not count yet."""
    op.create_table(
        "gold_bank",
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("row", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", name="pk_gold_bank"),
    )
    op.create_table(
        "gold_asked",
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("gold_id", sa.Text(), nullable=False),
        sa.Column("beside", sa.Text(), nullable=True),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=True),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", "revision", name="pk_gold_asked"),
        sa.ForeignKeyConstraint(["item_id", "revision"], ["items.item_id", "items.revision"], name="fk_gold_asked_items"),
        sa.UniqueConstraint("beside", name="uq_gold_asked_beside"),
    )
    op.create_table(
        "onboardings",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("since", sa.Text(), nullable=False),
        sa.Column("passed_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("pool", "person", name="pk_onboardings"),
    )


def _spans() -> None:
    pass
