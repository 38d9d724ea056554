"""One row says who leads; every transaction of the leader holds on to it until its commit."""

from __future__ import annotations

import time

import sqlalchemy as sa

from builder_framework.errors import LeadershipLostError
from builder_framework.store import migrate
from builder_framework.store import tables as t
from builder_framework.store.base import Leader

_ROW = t.leadership.c.id == 1


def take(connection: sa.Connection, holder: str, url: str | None) -> int:
    """Lead from this transaction's commit on; waits for those that hold on to the row."""
    connection.execute(
        sa.update(t.leadership)
        .where(_ROW)
        .values(token=t.leadership.c.token + 1, holder=holder, url=url, since=time.time())
    )
    token: int = connection.execute(sa.select(t.leadership.c.token).where(_ROW)).scalar_one()
    return token


def current(connection: sa.Connection) -> Leader | None:
    """Who leads."""
    row = connection.execute(sa.select(t.leadership).where(_ROW)).mappings().one()
    if row["token"] == 0:
        return None
    return Leader(row["token"], row["holder"], row["url"], row["since"])


def check(connection: sa.Connection, token: int | None) -> None:
    """Raises LeadershipLostError unless `token` leads."""
    leader = current(connection)
    if token is None or leader is None or leader.token != token:
        raise _lost(token, leader.holder if leader else None)


def hold(connection: sa.Connection, token: int | None, *, alone: bool = False) -> None:
    """Lead until the end of the transaction. Raises LeadershipLostError, SchemaError.

    `alone`: wait for every other transaction of a leader to end first, and let none begin.
    """
    row = t.leadership.c
    query = sa.select(row.token, row.holder, migrate.stored_revision()).where(_ROW)
    # SQLite has no such locks and needs none: it has one writer at a time.
    query = query.with_for_update(read=not alone, of=t.leadership)
    found = connection.execute(query).one()
    migrate.check(found[2])
    if token is None or found.token != token:
        raise _lost(token, found.holder or None)


def _lost(token: int | None, holder: str | None) -> LeadershipLostError:
    said = f"{holder} does" if holder else "nobody does"
    if token is None:
        return LeadershipLostError(f"this process does not lead: {said}")
    return LeadershipLostError(f"this process does not lead any more: {said}")
