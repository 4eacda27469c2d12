"""What triage may decide alone, and what audits said of it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKeyConstraint, Index, PrimaryKeyConstraint, UniqueConstraint

from hitl_bridge.adapters.sql.tables.columns import RowId, count, flag, json_value, metadata, moment, number, sequence, text

# How confidences become risks, by model version. Append-only: a trigger refuses changes.
calibrations = sa.Table(
    "calibrations",
    metadata,
    sequence(),
    text("model_version"),
    text("method"),
    json_value("parameters"),
    count("items"),
    text("items_digest"),
    json_value("figures"),
    moment("at"),
    UniqueConstraint("model_version", "method", "parameters"),
)

# Up to which risk predictions of a model version are approved without a look. Append-only: a trigger refuses changes.
thresholds = sa.Table(
    "thresholds",
    metadata,
    sequence(),
    text("model_version"),
    text("standing"),  # chosen, tightened, proposed or approved
    Column("calibration", RowId, nullable=True),
    json_value("bounds"),  # [[scenario or null, max_risk], …]; none: closed
    json_value("terms"),
    json_value("figures"),
    count("items"),
    text("items_digest"),
    text("by"),
    text("reason"),
    moment("at"),
    ForeignKeyConstraint(["calibration"], ["calibrations.id"]),
    Index("ix_thresholds_model_version", "model_version", "id"),
)

# All that decided a tier under a policy's version, so that a receipt can be computed again.
policies = sa.Table(
    "policies",
    metadata,
    text("policy_version"),
    json_value("content"),
    moment("at"),
    PrimaryKeyConstraint("policy_version"),
)

# Files of receipts that were counted for lots and drift, each once.
counted_files = sa.Table(
    "counted_files",
    metadata,
    Column("file", RowId, nullable=False, autoincrement=False),
    PrimaryKeyConstraint("file"),
    ForeignKeyConstraint(["file"], ["receipt_files.id"]),
)

# The periods in which a model and a policy approved without a look.
lots = sa.Table(
    "lots",
    metadata,
    text("lot_id"),
    text("model_version"),
    text("policy_version"),
    moment("starts_at"),
    moment("ends_at"),
    PrimaryKeyConstraint("lot_id"),
)

# Receipts of a file that were treated alike.
lot_counts = sa.Table(
    "lot_counts",
    metadata,
    sequence(),
    Column("file", RowId, nullable=False),
    text("lot_id"),
    text("scenario", nullable=True),
    number("uniform_rate"),
    number("audit_rate"),
    count("approved"),
    number("approved_risk"),
    count("other"),
    number("other_risk"),
    ForeignKeyConstraint(["file"], ["counted_files.file"]),
    ForeignKeyConstraint(["lot_id"], ["lots.lot_id"]),
    Index("ix_lot_counts_lot_id", "lot_id"),
)

# Every receipt that was drawn for a blind look, with the probability of that and what the model said.
lot_draws = sa.Table(
    "lot_draws",
    metadata,
    text("item_id"),
    count("revision"),
    text("model_version"),
    text("lot_id"),
    text("scenario", nullable=True),
    number("probability"),
    number("risk"),
    flag("approved"),
    json_value("output"),
    PrimaryKeyConstraint("item_id", "revision", "model_version"),
    ForeignKeyConstraint(["lot_id"], ["lots.lot_id"]),
    Index("ix_lot_draws_lot_id", "lot_id"),
)

# Verdicts on lots, each time one changes. Append-only: a trigger refuses changes.
lot_verdicts = sa.Table(
    "lot_verdicts",
    metadata,
    sequence(),
    text("lot_id"),
    text("verdict"),  # proven, unproven or held
    json_value("figures"),
    moment("at"),
    ForeignKeyConstraint(["lot_id"], ["lots.lot_id"]),
    Index("ix_lot_verdicts_lot_id", "lot_id", "id"),
)

# Held lots whose released items are called back, and whether the webhook has taken the call.
recalls = sa.Table(
    "recalls",
    metadata,
    text("lot_id"),
    moment("at"),
    moment("delivered_at", nullable=True),
    count("tries"),
    PrimaryKeyConstraint("lot_id"),
    ForeignKeyConstraint(["lot_id"], ["lots.lot_id"]),
)

# The audit rate in place of the settings' own. Append-only: a trigger refuses changes.
audit_rates = sa.Table(
    "audit_rates",
    metadata,
    sequence(),
    number("rate", nullable=True),  # NULL: the settings' own again
    text("reason"),
    text("by"),
    moment("at"),
)

# What was usual of a model's confidences, from the items up to a counted file.
drift_references = sa.Table(
    "drift_references",
    metadata,
    sequence(),
    text("model_version"),
    number("below"),
    count("items"),
    count("low"),
    moment("at"),
)

# How many items of a file the model was unsure of.
drift_counts = sa.Table(
    "drift_counts",
    metadata,
    sequence(),
    Column("file", RowId, nullable=False),
    text("model_version"),
    count("items"),
    count("low"),
    ForeignKeyConstraint(["file"], ["counted_files.file"]),
    Index("ix_drift_counts_model_version", "model_version", "id"),
)

# Looks at these counts, up to one of them.
drift_looks = sa.Table(
    "drift_looks",
    metadata,
    sequence(),
    text("model_version"),
    Column("up_to", RowId, nullable=False),
    count("items"),
    count("low"),
    number("p_value"),
    flag("alarm"),
    moment("at"),
    Index("ix_drift_looks_model_version", "model_version", "id"),
)
