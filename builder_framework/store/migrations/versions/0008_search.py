"""Builds are found by words; labels are found without a look at all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import context, op

from builder_framework import seal
from builder_framework.domain import words
from builder_framework.redact import Redactor, Secret
from builder_framework.seal import Sealer

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_BATCH = 1000
_BUILDS = sa.table(
    "builds",
    *map(sa.column, ("seq", "id", "owner", "project", "reason", "request", "result")),
)
_ATTEMPTS = sa.table("attempts", sa.column("build_id"), sa.column("hostname"))


def upgrade() -> None:
    op.create_table(
        "build_words",
        sa.Column(
            "word",
            sa.String(length=40).with_variant(sa.String(length=40, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("word", "seq", name=op.f("pk_build_words")),
        sqlite_with_rowid=False,
    )
    _number_labels()
    _find_words(op.get_bind(), context.config.attributes["sealer"])


def _number_labels() -> None:
    op.add_column("build_labels", sa.Column("short", sa.String(length=100), nullable=True))
    op.add_column("build_labels", sa.Column("seq", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE build_labels SET short = substr(value, 1, 100), "
        "seq = (SELECT seq FROM builds WHERE id = build_labels.build_id)"
    )
    op.drop_index("ix_build_labels_key", "build_labels")
    with op.batch_alter_table("build_labels") as table:
        table.alter_column("short", existing_type=sa.String(length=100), nullable=False)
        table.alter_column("seq", existing_type=sa.BigInteger(), nullable=False)
    op.create_index("ix_build_labels_key_short_seq", "build_labels", ["key", "short", "seq"])


def _find_words(connection: sa.Connection, sealer: Sealer) -> None:
    insert = sa.insert(sa.table("build_words", sa.column("word"), sa.column("seq")))
    for builds in _batches(connection):
        hosts = _hosts(connection, [build.id for build in builds])
        found = [
            {"word": word, "seq": build.seq}
            for build in builds
            for word in sorted(_words(build, hosts.get(build.id, []), sealer))
        ]
        connection.execute(insert, found)


def _words(build: sa.Row[Any], hosts: Sequence[str], sealer: Sealer) -> frozenset[str]:
    """As `words.of` has them; of the stored text, whose form is that of this schema."""
    request, result = json.loads(build.request), json.loads(build.result)
    secrets = _secrets(request, f"builds/{build.id}/request", sealer)
    asked = words.first(_texts(build, request), Redactor(secrets))
    told = [result.get("commit") or "", (result.get("digest") or "").removeprefix("sha256:")]
    told += [build.reason or "", *(host.partition(".")[0] for host in hosts)]
    return asked.union(*map(words.split, told))


def _texts(build: sa.Row[Any], request: dict[str, Any]) -> Iterator[str]:
    yield from (build.id, build.owner, build.project or "", request.get("group") or "")
    source = request["source"]
    given = source.get("git") or source.get("tarball") or {}
    yield words.path_of(given.get("url", ""))
    yield given.get("ref") or ""
    yield from map(words.name_of, request["images"])
    for key, value in request.get("labels", {}).items():
        yield f"{key} {value}"


def _secrets(request: dict[str, Any], place: str, sealer: Sealer) -> Iterator[Secret]:
    """Those that hide something where the build is shown."""
    recipe = request.get("recipe", {})
    holders = [request["source"], request.get("registry_auth"), request.get("registries")]
    for text in _strings([*holders, recipe.get("secrets"), recipe.get("ssh")]):
        if seal.key_of(text) is not None:
            yield Secret(sealer.open(text, place))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _hosts(connection: sa.Connection, ids: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    query = sa.select(_ATTEMPTS).where(_ATTEMPTS.c.build_id.in_(ids))
    for row in connection.execute(query):
        found.setdefault(row.build_id, []).append(row.hostname)
    return found


def _batches(connection: sa.Connection) -> Iterator[Sequence[sa.Row[Any]]]:
    query = sa.select(_BUILDS).order_by(_BUILDS.c.seq).limit(_BATCH)
    rows = connection.execute(query).all()
    while rows:
        yield rows
        rows = connection.execute(query.where(_BUILDS.c.seq > rows[-1].seq)).all()
