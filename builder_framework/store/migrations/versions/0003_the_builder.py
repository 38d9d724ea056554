"""Requests say `source` and `recipe`, as the wire does; builds know which ones they supersede."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BATCH = 1000
_RECIPE = ("context", "dockerfile", "target", "build_args")
_BUILDS = sa.table("builds", sa.column("seq", sa.BigInteger), sa.column("request", sa.Text))


def upgrade() -> None:
    op.add_column("builds", sa.Column("supersedes", sa.Text(), nullable=True))
    connection = op.get_bind()
    last = 0
    while rows := connection.execute(
        sa.select(_BUILDS.c.seq, _BUILDS.c.request)
        .where(_BUILDS.c.seq > last)
        .order_by(_BUILDS.c.seq)
        .limit(_BATCH)
    ).all():
        last = rows[-1].seq
        connection.execute(
            sa.update(_BUILDS)
            .where(_BUILDS.c.seq == sa.bindparam("this"))
            .values(request=sa.bindparam("new")),
            [{"this": row.seq, "new": _moved(row.request)} for row in rows],
        )


def _moved(text: str) -> str:
    request: dict[str, Any] = json.loads(text)
    request["source"] = {"git": request.pop("git")}
    request["recipe"] = {name: request.pop(name) for name in _RECIPE if name in request}
    return json.dumps(request, separators=(",", ":"), ensure_ascii=False)
