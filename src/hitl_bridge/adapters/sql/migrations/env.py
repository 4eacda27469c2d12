"""Alembic's entry: runs the revisions in the transaction that `migrate.bring_up_to_date` began."""

from __future__ import annotations

from alembic import context

from hitl_bridge.adapters.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # Alembic assumes that SQLite can't roll back DDL; it can, as we begin transactions ourselves.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
