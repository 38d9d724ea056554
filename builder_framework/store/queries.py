"""Reading builds: rows with their attempts, and which ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from builder_framework.domain.model import Build, BuildRequest
from builder_framework.domain.states import TERMINAL
from builder_framework.seal import Sealer
from builder_framework.store import rows, seals
from builder_framework.store import tables as t
from builder_framework.store.base import CANCEL, SUBMITTED, KnownKey
from builder_framework.store.seals import Opener


def known_key(connection: sa.Connection, owner: str, key: str, opener: Opener) -> KnownKey | None:
    """See `Store.known_key`."""
    keys = t.idempotency_keys
    query = sa.select(keys).where(keys.c.owner == owner, keys.c.key == key)
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    build_id = row["build_id"]
    fingerprint = opener.open(row["fingerprint"], seals.of_fingerprint(build_id))
    return KnownKey(fingerprint, build_id)


def same(request: BuildRequest, owner: str, sealer: Sealer) -> sa.Select[Any]:
    """See `Store.same`."""
    known = sa.select(t.identities.c.build_id).where(
        t.identities.c.owner == owner,
        t.identities.c.digest == rows.identity(request, sealer),
    )
    retagged = sa.select(t.images).where(
        t.images.c.image.in_(request.images), t.images.c.seq > t.builds.c.seq
    )
    newer = t.builds.alias()
    ended = (
        sa.select(t.inbox)
        .join(newer, newer.c.id == t.inbox.c.build_id)
        .where(
            sa.or_(
                sa.and_(t.inbox.c.kind == CANCEL, newer.c.id == t.builds.c.id),
                sa.and_(t.inbox.c.kind == SUBMITTED, newer.c.supersedes.contains(t.builds.c.id)),
            )
        )
    )
    return sa.select(t.builds).where(
        t.builds.c.id.in_(known),
        ~retagged.correlate(t.builds).exists(),
        ~ended.correlate(t.builds).exists(),
    )


def one(build_id: str) -> sa.Select[Any]:
    """The build of that id."""
    return sa.select(t.builds).where(t.builds.c.id == rows.text(build_id))


def unfinished() -> sa.Select[Any]:
    """See `Store.unfinished`."""
    over = [state.value for state in TERMINAL]
    return (
        sa.select(t.builds)
        .where(sa.or_(t.builds.c.state.not_in(over), t.builds.c.log_complete.is_(False)))
        .order_by(t.builds.c.seq)
    )


def load(
    connection: sa.Connection, query: sa.Select[Any], opener: Opener
) -> list[tuple[int, Build]]:
    """(seq, build) of every row of `query` over table builds, in its order. Raises SealError."""
    found = list(connection.execute(query).mappings())
    of = attempts(connection, [row["id"] for row in found])
    return [
        (row["seq"], rows.to_build(dict(row), map(dict, of[row["id"]]), opener)) for row in found
    ]


def attempts(connection: sa.Connection, ids: Sequence[str]) -> dict[str, list[sa.RowMapping]]:
    """Rows of the attempts of each build, in order."""
    found: dict[str, list[sa.RowMapping]] = {build_id: [] for build_id in ids}
    # SQLite binds at most 32766 variables in one statement (SQLITE_MAX_VARIABLE_NUMBER).
    for start in range(0, len(ids), 10_000):
        some = ids[start : start + 10_000]
        query = sa.select(t.attempts).where(t.attempts.c.build_id.in_(some))
        for row in connection.execute(query.order_by(t.attempts.c.number)).mappings():
            found[row["build_id"]].append(row)
    return found
