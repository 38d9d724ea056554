"""Requests say `source` and `recipe`, as the wire does; secrets are sealed; builds supersede, and
bring their contexts with them; some are given to others who ask for the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import context, op

from builder_framework.seal import Sealer

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BATCH = 1000
_RECIPE = ("context", "dockerfile", "target", "build_args")
_BUILDS = sa.table(
    "builds", sa.column("seq", sa.BigInteger), sa.column("id"), sa.column("request", sa.Text)
)
_DELIVERIES = sa.table(
    "deliveries", sa.column("seq", sa.BigInteger), sa.column("id"), sa.column("url", sa.Text)
)
_KEYS = sa.table(
    "idempotency_keys",
    sa.column("owner", sa.String),
    sa.column("key", sa.String),
    sa.column("build_id"),
    sa.column("fingerprint", sa.Text),
)
_SETTINGS = sa.table("settings", sa.column("name"), sa.column("value"))


def upgrade() -> None:
    op.add_column("builds", sa.Column("supersedes", sa.Text(), nullable=True))
    op.add_column("builds", sa.Column("upload_id", sa.String(length=32), nullable=True))
    op.create_index(op.f("ix_builds_upload_id"), "builds", ["upload_id"])
    op.add_column("builds", sa.Column("joined", sa.Integer(), server_default="0", nullable=False))
    _number_images()
    _create_uploads()
    op.create_table(
        "identities",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("build_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["build_id"], ["builds.id"], name=op.f("fk_identities_build_id_builds")
        ),
        sa.PrimaryKeyConstraint("owner", "digest", name=op.f("pk_identities")),
    )
    sealer: Sealer = context.config.attributes["sealer"]
    connection = op.get_bind()
    with op.batch_alter_table("idempotency_keys") as table:
        table.alter_column(
            "fingerprint", type_=sa.Text(), existing_type=sa.String(64), existing_nullable=False
        )
    any_rows = _upgrade_builds(connection, sealer)
    _seal_urls(connection, sealer)
    _seal_fingerprints(connection, sealer)
    proof = sealer.seal("builder-framework", "settings/sealed/value")
    connection.execute(sa.insert(_SETTINGS).values(name="sealed", value=proof))
    if any_rows and connection.dialect.name == "sqlite":
        # The file keeps what was overwritten until it is written anew, which takes more than a
        # transaction: `SqlStore` does it next.
        connection.execute(sa.insert(_SETTINGS).values(name="clear_text", value=""))


def _number_images() -> None:
    op.add_column("build_images", sa.Column("seq", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE build_images SET seq = (SELECT seq FROM builds WHERE id = build_images.build_id)"
    )
    op.drop_index("ix_build_images_image", "build_images")
    with op.batch_alter_table("build_images") as table:
        table.alter_column("seq", existing_type=sa.BigInteger(), nullable=False)
    op.create_index("ix_build_images_image_seq", "build_images", ["image", "seq"])


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_table(
        "upload_pieces",
        sa.Column("upload_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.id"], name=op.f("fk_upload_pieces_upload_id_uploads")
        ),
        sa.PrimaryKeyConstraint("upload_id", "number", name=op.f("pk_upload_pieces")),
    )


def _upgrade_builds(connection: sa.Connection, sealer: Sealer) -> bool:
    """Whether there was any."""
    update = _update(_BUILDS, "request", "seq")
    found = False
    for rows in _batches(connection, _BUILDS, "seq"):
        found = True
        connection.execute(
            update,
            [{"_seq": row.seq, "_new": _moved(row.request, row.id, sealer)} for row in rows],
        )
    return found


def _moved(text: str, build_id: str, sealer: Sealer) -> str:
    place = f"builds/{build_id}/request"
    request: dict[str, Any] = json.loads(text)
    request["source"] = {"git": request.pop("git")}
    request["recipe"] = {name: request.pop(name) for name in _RECIPE if name in request}
    for holder in (request["source"]["git"], request.get("registry_auth") or {}):
        if holder.get("password") is not None:
            holder["password"] = sealer.seal(holder["password"], place)
    if "webhooks" in request:
        request["webhooks"] = [sealer.seal(url, place) for url in request["webhooks"]]
    return json.dumps(request, separators=(",", ":"), ensure_ascii=False)


def _seal_urls(connection: sa.Connection, sealer: Sealer) -> None:
    update = _update(_DELIVERIES, "url", "seq")
    for rows in _batches(connection, _DELIVERIES, "seq"):
        connection.execute(
            update,
            [
                {"_seq": row.seq, "_new": sealer.seal(row.url, f"deliveries/{row.id}/url")}
                for row in rows
            ],
        )


def _seal_fingerprints(connection: sa.Connection, sealer: Sealer) -> None:
    """They are hashes of bodies with passwords in them: good for trying guesses."""
    update = _update(_KEYS, "fingerprint", "owner", "key")
    for rows in _batches(connection, _KEYS, "owner", "key"):
        connection.execute(
            update,
            [
                {
                    "_owner": row.owner,
                    "_key": row.key,
                    "_new": sealer.seal(
                        row.fingerprint, f"idempotency_keys/{row.build_id}/fingerprint"
                    ),
                }
                for row in rows
            ],
        )


def _batches(
    connection: sa.Connection, table: sa.TableClause, *keys: str
) -> Iterator[Sequence[sa.Row[Any]]]:
    """All rows in the order of `keys`, some at a time; they may be changed meanwhile."""
    columns = [table.c[key] for key in keys]
    query = sa.select(table).order_by(*columns).limit(_BATCH)
    rows = connection.execute(query).all()
    while rows:
        yield rows
        last = tuple(getattr(rows[-1], key) for key in keys)
        rows = connection.execute(query.where(sa.tuple_(*columns) > last)).all()


def _update(table: sa.TableClause, column: str, *keys: str) -> sa.Update:
    """`column` = :_new where each of `keys` = :_KEY."""
    same = [table.c[key] == sa.bindparam(f"_{key}") for key in keys]
    return sa.update(table).where(*same).values({column: sa.bindparam("_new")})
