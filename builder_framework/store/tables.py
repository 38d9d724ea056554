"""The schema. Alembic's migrations make it; `tests/contract` checks that both agree."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows only in an INTEGER primary key; elsewhere history may outgrow 32 bits.
_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

builds = sa.Table(
    "builds",
    metadata,
    sa.Column("seq", _SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("phase", sa.String(16)),
    sa.Column("reason", sa.String(64)),
    sa.Column("message", sa.Text),
    sa.Column("git_url", sa.Text, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("stop", sa.Text),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("state_since", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.Column("not_before", sa.Float, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("log_complete", sa.Boolean, nullable=False),
    sa.Column("supersedes", sa.Text),
    sa.Column("upload_id", sa.String(32)),
    sa.Column("joined", sa.Integer, nullable=False, server_default="0"),
    sa.Column("project", sa.String(64)),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Index("ix_builds_state_seq", "state", "seq"),
    sa.Index("ix_builds_git_url_seq", "git_url", "seq"),
    sa.Index("ix_builds_owner_seq", "owner", "seq"),
    sa.Index("ix_builds_log_complete", "log_complete"),
    sa.Index("ix_builds_upload_id", "upload_id"),
    sa.Index("ix_builds_ended_at", "ended_at"),
    sa.Index("ix_builds_project_seq", "project", "seq"),
    sqlite_autoincrement=True,
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("build_id", sa.String(32), sa.ForeignKey("builds.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("task_id", sa.String(255), nullable=False, unique=True),
    sa.Column("agent_id", sa.String(255), nullable=False),
    sa.Column("hostname", sa.String(255), nullable=False),
    sa.Column("agent_url", sa.Text, nullable=False),
    sa.Column("slot", sa.Integer, nullable=False),
    sa.Column("executor_id", sa.String(255), nullable=False),
    sa.Column("framework_id", sa.String(255), nullable=False),
    sa.Column("placed_at", sa.Float, nullable=False),
    sa.Column("running_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("reason", sa.String(64)),
    sa.Column("message", sa.Text),
    sa.Column("log_offset", sa.BigInteger),
    sa.Column("digest", sa.String(160)),
    sa.Column("lease_until", sa.Float),
)

images = sa.Table(
    "build_images",
    metadata,
    sa.Column("build_id", sa.String(32), sa.ForeignKey("builds.id"), primary_key=True),
    sa.Column("image", sa.String(512), primary_key=True),
    # The build's, so that the newest one of a tag is found without a look at all of them.
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Index("ix_build_images_image_seq", "image", "seq"),
)

labels = sa.Table(
    "build_labels",
    metadata,
    sa.Column("build_id", sa.String(32), sa.ForeignKey("builds.id"), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    # The beginning of the value: all of it may be longer than what PostgreSQL takes in an index.
    sa.Column("short", sa.String(100), nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Index("ix_build_labels_key_short_seq", "key", "short", "seq"),
)

# What builds are found by (domain.words). Compared byte by byte, so that words that begin alike
# stand together.
words = sa.Table(
    "build_words",
    metadata,
    sa.Column(
        "word",
        sa.String(40).with_variant(sa.String(40, collation="C"), "postgresql"),
        primary_key=True,
    ),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("build_id", sa.String(32), sa.ForeignKey("builds.id"), nullable=False),
)

# The newest build of each thing that was asked for so that others may have it, too.
identities = sa.Table(
    "identities",
    metadata,
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("build_id", sa.String(32), sa.ForeignKey("builds.id"), nullable=False),
)

settings = sa.Table(
    "settings",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# Who leads: one row. Every transaction of the leader checks that `token` is still its own.
leadership = sa.Table(
    "leadership",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("holder", sa.String(255), nullable=False),
    sa.Column("url", sa.Text),
    sa.Column("since", sa.Float, nullable=False),
)

# What other processes accepted for the leader to do; it deletes a row with the change it made.
inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("seq", _SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("build_id", sa.String(32), sa.ForeignKey("builds.id"), nullable=False),
    sa.Column("by", sa.String(64), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)

log_chunks = sa.Table(
    "log_chunks",
    metadata,
    sa.Column("build_id", sa.String(32), sa.ForeignKey("builds.id"), primary_key=True),
    sa.Column("offset", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

# Build contexts that came with requests; gone when their builds are over.
uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("token", sa.String(64), nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

upload_pieces = sa.Table(
    "upload_pieces",
    metadata,
    sa.Column("upload_id", sa.String(32), sa.ForeignKey("uploads.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

# What stands for users; of their secrets only digests.
tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("project", sa.String(64)),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float),
    sa.Column("last_used_at", sa.Float),
    sa.UniqueConstraint("owner", "name", name="uq_tokens_owner_name"),
)

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

members = sa.Table(
    "members",
    metadata,
    sa.Column("project", sa.String(64), sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("user", sa.String(64), primary_key=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Index("ix_members_user", "user"),
)

# Logins and secrets of projects; `value` is sealed.
credentials = sa.Table(
    "credentials",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("project", sa.String(64), sa.ForeignKey("projects.name"), nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    sa.UniqueConstraint("project", "name", name="uq_credentials_project_name"),
)

# Builds that Eremetic's clients have deleted: those do not see them any more.
forgotten_tasks = sa.Table(
    "forgotten_tasks",
    metadata,
    sa.Column("build_id", sa.String(32), sa.ForeignKey("builds.id"), primary_key=True),
)

# Who did what. Only ever added to, but for what is too old.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", _SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("user", sa.String(64)),
    sa.Column("token", sa.String(16)),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("subject", sa.String(255)),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Index("ix_audit_at", "at"),
    sa.Index("ix_audit_user_seq", "user", "seq"),
    sa.Index("ix_audit_action_seq", "action", "seq"),
    sa.Index("ix_audit_subject_seq", "subject", "seq"),
    sqlite_autoincrement=True,
)

# Sums over builds that ended: what they count survives restarts, failovers and retention.
tallies = sa.Table(
    "tallies",
    metadata,
    sa.Column("metric", sa.String(16), primary_key=True),
    sa.Column("labels", sa.String(128), primary_key=True),
    sa.Column("bucket", sa.String(16), primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
)

# Webhooks to send: written with the change they tell of, sent by a worker of its own.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("seq", _SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False, unique=True),
    sa.Column("build_id", sa.String(32), sa.ForeignKey("builds.id"), nullable=False),
    sa.Column("event", sa.String(32), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("host", sa.String(260), nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("next_at", sa.Float),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.Column("target", sa.String(64)),
    sa.Index("ix_deliveries_state_host_next_at", "state", "host", "next_at"),
    sa.Index("ix_deliveries_build_id_seq", "build_id", "seq"),
    sqlite_autoincrement=True,
)

delivery_tries = sa.Table(
    "delivery_tries",
    metadata,
    sa.Column("delivery_id", sa.String(40), sa.ForeignKey("deliveries.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("error", sa.Text),
)

# New images on their way into apps of Marathon: one row for a build, never a second one.
deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("build_id", sa.String(32), sa.ForeignKey("builds.id"), primary_key=True),
    sa.Column("app", sa.String(255), nullable=False),
    sa.Column("image", sa.Text, nullable=False),
    sa.Column("timeout", sa.Float, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("message", sa.Text),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("previous", sa.Text),
    sa.Column("base", sa.Text),
    sa.Column("unsure", sa.Boolean, nullable=False),
    sa.Column("marathon_id", sa.Text),
    sa.Column("back_until", sa.Float),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Index("ix_deployments_state", "state"),
    sa.Index("ix_deployments_app", "app"),
)
