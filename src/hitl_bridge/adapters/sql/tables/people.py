"""Who might decide when."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import PrimaryKeyConstraint

from hitl_bridge.adapters.sql.tables.columns import metadata, moment, text

roster_terms = sa.Table(
    "roster_terms",
    metadata,
    text("pool"),
    text("role"),  # reviewer or adjudicator
    text("person"),
    moment("since"),
    moment("until", nullable=True),
    PrimaryKeyConstraint("pool", "role", "person", "since"),
)
