"""Which builds are no tasks to Eremetic's clients any more, for every process of this database."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from builder_framework.store import migrate
from builder_framework.store import tables as t
from builder_framework.store.sql import SqlStore


class SqlForgotten:
    """`ports.Forgotten`."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def forget(self, build_id: str) -> None:
        """See `ports.Forgotten`."""
        row = t.forgotten_tasks
        with self._store.writing() as connection:
            migrate.check_stored(connection)
            # Once more is no error.
            connection.execute(sa.delete(row).where(row.c.build_id == build_id))
            connection.execute(sa.insert(row).values(build_id=build_id))

    def among(self, build_ids: Collection[str]) -> frozenset[str]:
        """See `ports.Forgotten`."""
        row = t.forgotten_tasks
        query = sa.select(row.c.build_id).where(row.c.build_id.in_(build_ids))
        with self._store.reading() as connection:
            return frozenset(connection.execute(query).scalars())
