"""The audit trail in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from builder_framework.audit import Entry, Query
from builder_framework.store import rows
from builder_framework.store import tables as t
from builder_framework.store.sql import SqlStore

_AT_ONCE = 1000
"""Rows of one deletion: others write, too."""


class SqlAudit:
    """Rows are added and, when they are old enough, removed; nothing ever changes one."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def add(self, entries: Sequence[Entry]) -> None:
        """All of them, in their order. Raises StoreUnavailableError."""
        with self._store.writing() as connection:
            connection.execute(sa.insert(t.audit), [_row(entry) for entry in entries])

    def page(self, query: Query) -> tuple[list[Entry], int | None]:
        """See `audit.Audit`."""
        a = t.audit.c
        found = sa.select(t.audit).order_by(a.seq.desc()).limit(query.limit + 1)
        for column, value in (
            (a.user, query.user),
            (a.action, query.action),
            (a.subject, query.subject),
        ):
            if value is not None:
                found = found.where(column == rows.text(value))
        if query.before is not None:
            found = found.where(a.seq < query.before)
        with self._store.reading() as connection:
            all_rows = connection.execute(found).mappings().all()
        page = all_rows[: query.limit]
        following = page[-1]["seq"] if len(all_rows) > query.limit else None
        return [
            Entry(**{name: value for name, value in row.items() if name != "seq"}) for row in page
        ], following

    def forget(self, before: float) -> int:
        """Remove entries from before that moment, in small transactions; how many. For the leader.

        Raises StoreUnavailableError, LeadershipLostError.
        """
        old = sa.select(t.audit.c.seq).where(t.audit.c.at < before).limit(_AT_ONCE)
        gone = 0
        while True:
            with self._store.leading() as connection:
                found = list(connection.execute(old).scalars())
                connection.execute(sa.delete(t.audit).where(t.audit.c.seq.in_(found)))
            gone += len(found)
            if len(found) < _AT_ONCE:
                return gone


def _row(entry: Entry) -> dict[str, object]:
    return {
        name: rows.text(value) if isinstance(value, str) else value
        for name, value in asdict(entry).items()
    }
