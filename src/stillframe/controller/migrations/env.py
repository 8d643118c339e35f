"""How Alembic runs the migrations: inside the caller's transaction, so that all or nothing happens.

MariaDB cannot: there each statement stays, so every one must do when it is there already.
"""

from __future__ import annotations

from alembic import context

from stillframe.controller import schema

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=schema.metadata,
    transactional_ddl=connection.dialect.name != "mysql",  # SQLite can, once the driver leaves transactions alone
    render_as_batch=True,
)
context.run_migrations()
