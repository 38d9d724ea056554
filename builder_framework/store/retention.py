"""Removes old builds and old logs. Only of builds that are over, with all that belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from builder_framework.domain.delivery import DeliveryState
from builder_framework.domain.deployment import GOING_ON
from builder_framework.domain.states import TERMINAL
from builder_framework.store import tables as t
from builder_framework.store.sql import SqlStore

_AT_ONCE = 50
"""Builds of one transaction: the loop writes, too, and waits no longer than for these."""

_LOGS_REMOVED = "logs_removed"
"""Setting: until which end of a build (seconds since the epoch) logs are removed already."""

_OVER = [state.value for state in TERMINAL]

_OF_A_BUILD = (
    t.deployments,
    t.forgotten_tasks,
    t.log_chunks,
    t.idempotency_keys,
    t.identities,
    t.inbox,
    t.labels,
    t.images,
    t.attempts,
)


class SqlRetention:
    """For the leader. All calls may raise StoreUnavailableError, LeadershipLostError."""

    def __init__(self, store: SqlStore, remove_log: Callable[[str], None]) -> None:
        """`remove_log`: of a build id, where logs are no rows; one may be gone already."""
        self._store = store
        self._remove_log = remove_log

    def remove_builds(self, before: float) -> int:
        """Builds that ended before that moment; how many.

        Not those whose log is not complete, whose webhooks are still to be sent, whose image is
        still being deployed, or that somebody asked something of that the loop has not heard yet.
        """
        b = t.builds.c
        told = sa.select(t.deliveries.c.seq).where(
            t.deliveries.c.build_id == b.id, t.deliveries.c.state == DeliveryState.PENDING.value
        )
        deployed = sa.select(t.deployments.c.build_id).where(
            t.deployments.c.build_id == b.id,
            t.deployments.c.state.in_([state.value for state in GOING_ON]),
        )
        asked = sa.select(t.inbox.c.seq).where(t.inbox.c.build_id == b.id)
        old = (
            sa.select(b.id)
            .where(
                b.ended_at < before,
                b.state.in_(_OVER),
                b.log_complete.is_(True),
                b.upload_id.is_(None)
                | ~sa.select(t.uploads.c.id).where(t.uploads.c.id == b.upload_id).exists(),
                ~told.exists(),
                ~deployed.exists(),
                ~asked.exists(),
            )
            .order_by(b.ended_at)
            .limit(_AT_ONCE)
        )
        gone = 0
        while True:
            with self._store.leading() as connection:
                ids = [row.id for row in connection.execute(old)]
                self._store.forget_words(connection, ids)
                # First what is outside of the transaction: if that fails, they are found again.
                for build_id in ids:
                    self._remove_log(build_id)
                _remove(connection, ids)
            gone += len(ids)
            if len(ids) < _AT_ONCE:
                return gone

    def remove_logs(self, before: float) -> int:
        """Logs of builds that ended before that moment; of how many builds."""
        b = t.builds.c
        over = (b.state.in_(_OVER), b.log_complete.is_(True), b.ended_at < before)
        gone = 0
        while True:
            with self._store.leading() as connection:
                done = b.ended_at > _removed_until(connection)
                piece = sa.select(b.ended_at).where(*over, done).order_by(b.ended_at)
                moments = list(connection.execute(piece.limit(_AT_ONCE)).scalars())
                if not moments:
                    return gone
                # All of the last moment: the next piece begins after it.
                query = sa.select(b.id).where(*over, done, b.ended_at <= moments[-1])
                ids = list(connection.execute(query).scalars())
                for build_id in ids:
                    self._remove_log(build_id)
                connection.execute(sa.delete(t.log_chunks).where(t.log_chunks.c.build_id.in_(ids)))
                _note(connection, moments[-1])
            gone += len(ids)


def _remove(connection: sa.Connection, ids: Sequence[str]) -> None:
    """With everything that points to them."""
    if not ids:
        return
    deliveries = sa.select(t.deliveries.c.id).where(t.deliveries.c.build_id.in_(ids))
    connection.execute(
        sa.delete(t.delivery_tries).where(t.delivery_tries.c.delivery_id.in_(deliveries))
    )
    connection.execute(sa.delete(t.deliveries).where(t.deliveries.c.build_id.in_(ids)))
    for table in _OF_A_BUILD:
        connection.execute(sa.delete(table).where(table.c.build_id.in_(ids)))
    connection.execute(sa.delete(t.builds).where(t.builds.c.id.in_(ids)))


def _removed_until(connection: sa.Connection) -> float:
    query = sa.select(t.settings.c.value).where(t.settings.c.name == _LOGS_REMOVED)
    return float(connection.execute(query).scalar() or 0.0)


def _note(connection: sa.Connection, until: float) -> None:
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    query = insert(t.settings).values(name=_LOGS_REMOVED, value=repr(until))
    connection.execute(
        query.on_conflict_do_update(index_elements=["name"], set_={"value": repr(until)})
    )
