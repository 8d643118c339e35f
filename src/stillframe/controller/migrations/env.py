"""How Alembic runs the migrations: inside the caller's transaction, so that all or nothing happens."""

from __future__ import annotations

from alembic import context

from stillframe.controller import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    transactional_ddl=True,  # SQLite can, once the driver leaves transactions alone
    render_as_batch=True,
)
context.run_migrations()
