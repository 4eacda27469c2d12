"""Calibrations and thresholds, lots, policies by version, and predictions that came in one by one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _thresholds()
    _online()
    _waits()
    _policies()
    _lots()


def _online() -> None:
    op.create_table(
        "online_predictions",
        sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("input_digest", sa.Text(), nullable=False),
        sa.Column("content_digest", sa.Text(), nullable=False),
        sa.Column("asked", sa.Boolean(), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.Column("received_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_online_predictions"),
        sa.UniqueConstraint("item_id", "model_version", "input_digest", name="uq_online_predictions_item_id"),
    )
    op.create_table(
        "online_items",
        sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_online_items"),
        sa.ForeignKeyConstraint(["seq"], ["online_predictions.seq"], name="fk_online_items_online_predictions"),
    )
    op.create_table(
        "online_flushes",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("up_to", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", name="pk_online_flushes"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name="fk_online_flushes_batches"),
    )
    op.create_index("ix_online_flushes_up_to", "online_flushes", ["up_to"])
    op.create_table(
        "online_keys",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name="pk_online_keys"),
    )
    op.create_index("ix_online_keys_at", "online_keys", ["at"])


def _waits() -> None:
    op.create_table(
        "waits",
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("since", sa.Text(), nullable=False),
        sa.Column("picked_at", sa.Text(), nullable=True),
        sa.Column("arm", sa.Text(), nullable=True),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("item_id", "revision", name="pk_waits"),
        sa.ForeignKeyConstraint(["item_id", "revision"], ["items.item_id", "items.revision"], name="fk_waits_items"),
    )
    op.create_index("ix_waits_picked_at", "waits", ["picked_at"])


def _policies() -> None:
    op.create_table(
        "policies",
        sa.Column("policy_version", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("policy_version", name="pk_policies"),
    )


def _lots() -> None:
    op.create_table(
        "counted_files",
        sa.Column("file", _ID, nullable=False, autoincrement=False),
        sa.PrimaryKeyConstraint("file", name="pk_counted_files"),
        sa.ForeignKeyConstraint(["file"], ["receipt_files.id"], name="fk_counted_files_receipt_files"),
    )
    op.create_table(
        "lots",
        sa.Column("lot_id", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.Text(), nullable=False),
        sa.Column("ends_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("lot_id", name="pk_lots"),
    )
    op.create_table(
        "lot_counts",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("file", _ID, nullable=False),
        sa.Column("lot_id", sa.Text(), nullable=False),
        sa.Column("scenario", sa.Text(), nullable=True),
        sa.Column("uniform_rate", sa.Double(), nullable=False),
        sa.Column("audit_rate", sa.Double(), nullable=False),
        sa.Column("approved", sa.Integer(), nullable=False),
        sa.Column("approved_risk", sa.Double(), nullable=False),
        sa.Column("other", sa.Integer(), nullable=False),
        sa.Column("other_risk", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lot_counts"),
        sa.ForeignKeyConstraint(["file"], ["counted_files.file"], name="fk_lot_counts_counted_files"),
        sa.ForeignKeyConstraint(["lot_id"], ["lots.lot_id"], name="fk_lot_counts_lots"),
    )
    op.create_index("ix_lot_counts_lot_id", "lot_counts", ["lot_id"])
    op.create_table(
        "lot_draws",
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("lot_id", sa.Text(), nullable=False),
        sa.Column("scenario", sa.Text(), nullable=True),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("risk", sa.Double(), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", "revision", "model_version", name="pk_lot_draws"),
        sa.ForeignKeyConstraint(["lot_id"], ["lots.lot_id"], name="fk_lot_draws_lots"),
    )
    op.create_index("ix_lot_draws_lot_id", "lot_draws", ["lot_id"])
    op.create_table(
        "lot_verdicts",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("lot_id", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("figures", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lot_verdicts"),
        sa.ForeignKeyConstraint(["lot_id"], ["lots.lot_id"], name="fk_lot_verdicts_lots"),
    )
    op.create_index("ix_lot_verdicts_lot_id", "lot_verdicts", ["lot_id", "id"])
    op.create_table(
        "recalls",
        sa.Column("lot_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("delivered_at", sa.Text(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("lot_id", name="pk_recalls"),
        sa.ForeignKeyConstraint(["lot_id"], ["lots.lot_id"], name="fk_recalls_lots"),
    )
    _drift()
    for table in ("lot_verdicts", "audit_rates"):
        _keep_rows(table)


def _drift() -> None:
    op.create_table(
        "audit_rates",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("rate", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_rates"),
    )
    op.create_table(
        "drift_references",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("below", sa.Double(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("low", sa.Integer(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_drift_references"),
    )
    op.create_table(
        "drift_counts",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("file", _ID, nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("low", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_drift_counts"),
        sa.ForeignKeyConstraint(["file"], ["counted_files.file"], name="fk_drift_counts_counted_files"),
    )
    op.create_index("ix_drift_counts_model_version", "drift_counts", ["model_version", "id"])
    op.create_table(
        "drift_looks",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("up_to", _ID, nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("low", sa.Integer(), nullable=False),
        sa.Column("p_value", sa.Double(), nullable=False),
        sa.Column("alarm", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_drift_looks"),
    )
    op.create_index("ix_drift_looks_model_version", "drift_looks", ["model_version", "id"])


def _thresholds() -> None:
    op.create_table(
        "calibrations",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("items_digest", sa.Text(), nullable=False),
        sa.Column("figures", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_calibrations"),
        sa.UniqueConstraint("model_version", "method", "parameters", name="uq_calibrations_model_version"),
    )
    op.create_table(
        "thresholds",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("standing", sa.Text(), nullable=False),
        sa.Column("calibration", _ID, nullable=True),
        sa.Column("bounds", sa.Text(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("figures", sa.Text(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("items_digest", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_thresholds"),
        sa.ForeignKeyConstraint(["calibration"], ["calibrations.id"], name="fk_thresholds_calibrations"),
    )
    op.create_index("ix_thresholds_model_version", "thresholds", ["model_version", "id"])
    for table in ("calibrations", "thresholds"):
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
