"""What operators look at: how many builds ended how, and who did what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "forgotten_tasks",
        sa.Column("build_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["build_id"], ["builds.id"], name=op.f("fk_forgotten_tasks_build_id_builds")
        ),
        sa.PrimaryKeyConstraint("build_id", name=op.f("pk_forgotten_tasks")),
    )
    op.create_index(op.f("ix_builds_ended_at"), "builds", ["ended_at"])
    _create_tallies()
    _create_audit()


def _create_tallies() -> None:
    op.create_table(
        "tallies",
        sa.Column("metric", sa.String(length=16), nullable=False),
        sa.Column("labels", sa.String(length=128), nullable=False),
        sa.Column("bucket", sa.String(length=16), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("metric", "labels", "bucket", name=op.f("pk_tallies")),
    )


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("user", sa.String(length=64), nullable=True),
        sa.Column("token", sa.String(length=16), nullable=True),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=True),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    for column in ("user", "action", "subject"):
        op.create_index(f"ix_audit_{column}_seq", "audit", [column, "seq"])
