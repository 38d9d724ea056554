"""Whether builds are started, as the database has it for every process."""

from __future__ import annotations

import json

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from builder_framework.domain.scheduling import Mode, Scheduling
from builder_framework.domain.states import ON_AGENT
from builder_framework.store import migrate, rows
from builder_framework.store import tables as t
from builder_framework.store.sql import SqlStore

_NAME = "scheduling"


class SqlScheduling:
    """All calls may raise StoreUnavailableError."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def read(self) -> Scheduling:
        """As it was said last."""
        with self._store.reading() as connection:
            return _read(connection)

    def turn(self, mode: Mode, by: str, now: float) -> Scheduling:
        """Say it, durably; what holds from now on."""
        with self._store.writing() as connection:
            migrate.check_stored(connection)
            before = _read(connection)
            after = before.turned(mode, by, now)
            if after != before:
                value = json.dumps(
                    {"mode": after.mode.value, "by": rows.text(by), "since": after.since}
                )
                insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
                query = insert(t.settings).values(name=_NAME, value=value)
                connection.execute(
                    query.on_conflict_do_update(index_elements=["name"], set_={"value": value})
                )
        return after

    def on_agents(self) -> int:
        """How many builds may have a task."""
        states = [state.value for state in ON_AGENT]
        count = sa.select(sa.func.count()).where(t.builds.c.state.in_(states))
        with self._store.reading() as connection:
            return connection.execute(count).scalar_one()


def _read(connection: sa.Connection) -> Scheduling:
    query = sa.select(t.settings.c.value).where(t.settings.c.name == _NAME)
    value = connection.execute(query).scalar()
    if value is None:
        return Scheduling()
    told = json.loads(value)
    return Scheduling(Mode(told["mode"]), told["by"], told["since"])
