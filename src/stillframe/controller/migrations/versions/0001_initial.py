"""The first schema: hosts, instances, sightings, captures."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
DOCUMENT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
# MariaDB commits each statement at once: what an interrupted run has made is passed over by the next.
TABLE: dict[str, Any] = {
    "if_not_exists": True,
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_nopad_bin",
}


def upgrade() -> None:
    """Creates every table."""
    op.create_table(
        "captures",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("instance_id", sa.String(length=36), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("project_id", sa.String(length=255), nullable=True),
        sa.Column("user_id", sa.String(length=255), nullable=True),
        sa.Column("request_id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("backup_type", sa.String(length=255), nullable=True),
        sa.Column("rotation", sa.Integer(), nullable=True),
        sa.Column("rotated", sa.Boolean(), nullable=False),
        sa.Column("retired", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("phase", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=True),
        sa.Column("agent_run", sa.String(length=255), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("images", DOCUMENT, nullable=False),
        sa.Column("wishes", DOCUMENT, nullable=False),
        sa.Column("report", DOCUMENT, nullable=True),
        sa.Column("cancel", DOCUMENT, nullable=True),
        sa.Column("fault", DOCUMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_captures")),
        **TABLE,
    )
    op.create_index(
        op.f("ix_captures_created_at_id"), "captures", ["created_at", "id"], unique=False, if_not_exists=True
    )
    op.create_index(op.f("ix_captures_host_status"), "captures", ["host", "status"], unique=False, if_not_exists=True)
    op.create_index(
        op.f("ix_captures_instance_id_created_at_id"),
        "captures",
        ["instance_id", "created_at", "id"],
        unique=False,
        if_not_exists=True,
    )
    op.create_index(op.f("ix_captures_kind_rotated"), "captures", ["kind", "rotated"], unique=False, if_not_exists=True)
    op.create_index(
        op.f("ix_captures_project_id_created_at_id"),
        "captures",
        ["project_id", "created_at", "id"],
        unique=False,
        if_not_exists=True,
    )
    op.create_index(
        op.f("ix_captures_status_created_at_id"),
        "captures",
        ["status", "created_at", "id"],
        unique=False,
        if_not_exists=True,
    )
    op.create_table(
        "hosts",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("agent_run", sa.String(length=255), nullable=False),
        sa.Column("previous_run", sa.String(length=255), nullable=True),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("last_seen", TIME, nullable=False),
        sa.Column("lost", sa.Boolean(), nullable=False),
        sa.Column("inventory_digest", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_hosts")),
        **TABLE,
    )
    op.create_table(
        "instances",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("project_id", sa.String(length=255), nullable=True),
        sa.Column("user_id", sa.String(length=255), nullable=True),
        sa.Column("flavor", sa.String(length=255), nullable=True),
        sa.Column("base_image_id", sa.String(length=255), nullable=True),
        sa.Column("vm_state", sa.String(length=32), nullable=False),
        sa.Column("power_state", sa.Integer(), nullable=False),
        sa.Column("task_state", sa.String(length=32), nullable=True),
        sa.Column("capture_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("missing_since", TIME, nullable=True),
        sa.Column("document", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instances")),
        **TABLE,
    )
    op.create_index(op.f("ix_instances_capture_id"), "instances", ["capture_id"], unique=False, if_not_exists=True)
    op.create_index(
        op.f("ix_instances_created_at_id"), "instances", ["created_at", "id"], unique=False, if_not_exists=True
    )
    op.create_index(op.f("ix_instances_host"), "instances", ["host"], unique=False, if_not_exists=True)
    op.create_index(
        op.f("ix_instances_missing_since"), "instances", ["missing_since"], unique=False, if_not_exists=True
    )
    op.create_index(
        op.f("ix_instances_project_id_created_at_id"),
        "instances",
        ["project_id", "created_at", "id"],
        unique=False,
        if_not_exists=True,
    )
    op.create_table(
        "sightings",
        sa.Column("instance_id", sa.String(length=36), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_sightings_instance_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("instance_id", "host", name=op.f("pk_sightings")),
        **TABLE,
    )
    op.create_index(op.f("ix_sightings_host"), "sightings", ["host"], unique=False, if_not_exists=True)
