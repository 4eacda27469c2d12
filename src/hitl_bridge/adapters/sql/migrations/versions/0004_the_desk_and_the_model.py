"""What reviewers' records, their desk and the signing of models need."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _signoffs()
    _records()
    _desk()
    _people()
    _agreement()


def _agreement() -> None:
    """How probable a consensus is, which reviews were drawn to be blind, and items whose answer is known."""
    op.add_column("decisions", sa.Column("probability", sa.Double(), nullable=True))
    op.add_column("items", sa.Column("blind_rate", sa.Double(), nullable=True))
    op.create_table(
        "gold_items",
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("output", sa.Text(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", name="pk_gold_items"),
    )


def _desk() -> None:
    """What a reviewer is told when asked again, and the reasons behind a decision."""
    op.add_column("items", sa.Column("note", sa.Text(), nullable=True))
    op.add_column("decisions", sa.Column("reason_codes", sa.Text(), nullable=True))


def _people() -> None:
    """Who might decide when, and what was done about late items."""
    op.create_table(
        "escalations",
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", "revision", "round", "step", name="pk_escalations"),
        sa.ForeignKeyConstraint(["item_id", "revision"], ["items.item_id", "items.revision"], name="fk_escalations_items"),
    )
    op.create_table(
        "roster_terms",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("since", sa.Text(), nullable=False),
        sa.Column("until", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("pool", "role", "person", "since", name="pk_roster_terms"),
    )


def _records() -> None:
    op.create_table(
        "reverts",
        sa.Column("revert_id", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("revert_id", name="pk_reverts"),
    )
    op.create_table(
        "reverted_decisions",
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("revert_id", sa.Text(), nullable=False),
        sa.Column("taken_back", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", "revision", "seq", name="pk_reverted_decisions"),
        sa.ForeignKeyConstraint(["revert_id"], ["reverts.revert_id"], name="fk_reverted_decisions_reverts"),
    )
    op.create_table(
        "answers_taken_back",
        sa.Column("annotation", sa.Text(), nullable=False),
        sa.Column("revert_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("annotation", name="pk_answers_taken_back"),
        sa.ForeignKeyConstraint(["revert_id"], ["reverts.revert_id"], name="fk_answers_taken_back_reverts"),
    )
    op.create_index("ix_answers_taken_back_revert_id", "answers_taken_back", ["revert_id"])


def _signoffs() -> None:
    op.create_table(
        "sign_offs",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("approver", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("proof", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sign_offs"),
        sa.UniqueConstraint("kind", "number", name="uq_sign_offs_kind"),
    )
    op.create_table(
        "champions",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("artifact", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("files", sa.Text(), nullable=False),
        sa.Column("signed_off", sa.Integer(), nullable=False),
        sa.Column("git_commit", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("rolled_back", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_champions"),
    )
    for table in ("sign_offs", "champions"):
        _keep_rows(table)


def _keep_rows(table: str) -> None:
    said = f"rows of {table} can not be changed or removed"
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
