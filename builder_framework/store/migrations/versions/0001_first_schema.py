"""The first schema: builds, attempts, images, labels, idempotency keys, settings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "builds",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("git_url", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("stop", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("state_since", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("not_before", sa.Float(), nullable=False),
        sa.Column("launch_failures", sa.Integer(), nullable=False),
        sa.Column("log_complete", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_builds")),
        sa.UniqueConstraint("id", name=op.f("uq_builds_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_builds_git_url_seq", "builds", ["git_url", "seq"], unique=False)
    op.create_index("ix_builds_log_complete", "builds", ["log_complete"], unique=False)
    op.create_index("ix_builds_owner_seq", "builds", ["owner", "seq"], unique=False)
    op.create_index("ix_builds_state_seq", "builds", ["state", "seq"], unique=False)
    op.create_table(
        "settings",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_settings")),
    )
    op.create_table(
        "attempts",
        sa.Column("build_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.String(length=255), nullable=False),
        sa.Column("agent_id", sa.String(length=255), nullable=False),
        sa.Column("hostname", sa.String(length=255), nullable=False),
        sa.Column("agent_url", sa.Text(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("executor_id", sa.String(length=255), nullable=False),
        sa.Column("framework_id", sa.String(length=255), nullable=False),
        sa.Column("placed_at", sa.Float(), nullable=False),
        sa.Column("running_at", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("log_offset", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["build_id"], ["builds.id"], name=op.f("fk_attempts_build_id_builds")
        ),
        sa.PrimaryKeyConstraint("build_id", "number", name=op.f("pk_attempts")),
        sa.UniqueConstraint("task_id", name=op.f("uq_attempts_task_id")),
    )
    op.create_table(
        "build_images",
        sa.Column("build_id", sa.String(length=32), nullable=False),
        sa.Column("image", sa.String(length=512), nullable=False),
        sa.ForeignKeyConstraint(
            ["build_id"], ["builds.id"], name=op.f("fk_build_images_build_id_builds")
        ),
        sa.PrimaryKeyConstraint("build_id", "image", name=op.f("pk_build_images")),
    )
    op.create_index("ix_build_images_image", "build_images", ["image"], unique=False)
    op.create_table(
        "build_labels",
        sa.Column("build_id", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["build_id"], ["builds.id"], name=op.f("fk_build_labels_build_id_builds")
        ),
        sa.PrimaryKeyConstraint("build_id", "key", name=op.f("pk_build_labels")),
    )
    op.create_index("ix_build_labels_key", "build_labels", ["key"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("build_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["build_id"], ["builds.id"], name=op.f("fk_idempotency_keys_build_id_builds")
        ),
        sa.PrimaryKeyConstraint("owner", "key", name=op.f("pk_idempotency_keys")),
    )
