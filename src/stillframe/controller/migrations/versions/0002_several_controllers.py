"""Several controllers: claims; which agent a host has; when a host was told of a capture."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
TABLE: dict[str, Any] = {
    "if_not_exists": True,
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_nopad_bin",
}


def upgrade() -> None:
    """Captures that have not ended count as told of: the release before told every one at once."""
    op.create_table(
        "claims",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_claims")),
        **TABLE,
    )
    _add("hosts", sa.Column("agent_id", sa.String(length=255), nullable=True))
    _add("captures", sa.Column("ordered_at", TIME, nullable=True))
    _index("ix_captures_ended_at", ["ended_at"])
    _index("ix_captures_host_project_id_ordered_at", ["host", "project_id", "ordered_at"])
    op.execute(
        "UPDATE captures SET ordered_at = created_at"
        " WHERE ordered_at IS NULL AND status IN ('pending', 'running', 'publishing')"
    )


def _add(table: str, column: sa.Column[Any]) -> None:
    known = {each["name"] for each in sa.inspect(op.get_bind()).get_columns(table)}
    if column.name not in known:
        op.add_column(table, column)


def _index(name: str, columns: list[str]) -> None:
    op.create_index(op.f(name), "captures", columns, unique=False, if_not_exists=True)
