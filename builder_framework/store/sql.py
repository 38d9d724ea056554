"""The store on SQLAlchemy: SQLite beside the process, or a PostgreSQL server."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from builder_framework.domain.model import Build
from builder_framework.domain.states import TERMINAL
from builder_framework.errors import (
    FieldProblem,
    InvalidInputError,
    NotFoundError,
    StaleWriteError,
    StoreUnavailableError,
)
from builder_framework.ports import ListQuery
from builder_framework.store import deliveries, migrate, rows
from builder_framework.store import tables as t
from builder_framework.store.base import Change, KnownKey

_BUSY_TIMEOUT_MS = 5000
_FRAMEWORK_ID = "framework_id"
_PING = "ping"


class SqlStore:
    """`Store` on any database that SQLAlchemy and our migrations know."""

    def __init__(self, url: str) -> None:
        """Open the database and bring its schema up to date. Raises StoreUnavailableError."""
        self._engine = sa.create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _configure_sqlite)
            sa.event.listen(self._engine, "begin", _begin_immediate)
        with self._transaction() as connection:
            migrate.upgrade(connection)
        self.outbox = deliveries.SqlOutbox(self._transaction)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except (DBAPIError, sa.exc.TimeoutError) as error:
            # The statement's parameters hold requests, with their secrets: only the cause is told.
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise StoreUnavailableError(f"the database does not answer: {cause}") from None
        except SQLAlchemyError as error:
            raise StoreUnavailableError(f"the database failed: {type(error).__name__}") from None

    def apply(self, changes: Sequence[Change]) -> None:
        with self._transaction() as connection:
            for change in changes:
                if change.previous is None:
                    _insert(connection, change)
                else:
                    _update(connection, change.build, change.previous)
                deliveries.insert(connection, change.deliveries)

    def known_key(self, owner: str, key: str) -> KnownKey | None:
        keys = t.idempotency_keys
        query = sa.select(keys).where(keys.c.owner == owner, keys.c.key == key)
        with self._transaction() as connection:
            row = connection.execute(query).mappings().first()
        return KnownKey(row["fingerprint"], row["build_id"]) if row else None

    def get(self, build_id: str) -> Build:
        with self._transaction() as connection:
            found = _load(connection, sa.select(t.builds).where(t.builds.c.id == build_id))
        if not found:
            raise NotFoundError(f"there is no build {build_id!r}")
        return found[0][1]

    def unfinished(self) -> list[Build]:
        over = [state.value for state in TERMINAL]
        query = (
            sa.select(t.builds)
            .where(sa.or_(t.builds.c.state.not_in(over), t.builds.c.log_complete.is_(False)))
            .order_by(t.builds.c.seq)
        )
        with self._transaction() as connection:
            return [build for _, build in _load(connection, query)]

    def list(self, query: ListQuery) -> tuple[list[Build], str | None]:
        statement = _filtered(query).order_by(t.builds.c.seq.desc()).limit(query.limit + 1)
        if query.cursor is not None:
            statement = statement.where(t.builds.c.seq < _decode_cursor(query.cursor))
        with self._transaction() as connection:
            found = _load(connection, statement)
        page = found[: query.limit]
        more = len(found) > query.limit
        return [build for _, build in page], _encode_cursor(page[-1][0]) if more else None

    def framework_id(self) -> str | None:
        query = sa.select(t.settings.c.value).where(t.settings.c.name == _FRAMEWORK_ID)
        with self._transaction() as connection:
            value: str | None = connection.execute(query).scalar()
        return value

    def save_framework_id(self, framework_id: str) -> None:
        self._put(_FRAMEWORK_ID, framework_id)

    def ping(self) -> None:
        self._put(_PING, "")

    def _put(self, name: str, value: str) -> None:
        with self._transaction() as connection:
            connection.execute(sa.delete(t.settings).where(t.settings.c.name == name))
            connection.execute(sa.insert(t.settings).values(name=name, value=value))

    def close(self) -> None:
        self._engine.dispose()


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # sqlite3 would open transactions by itself, and only before writes; see _begin_immediate.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # A 202 is a promise: WAL with NORMAL may lose the last commits at a power cut.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_immediate(connection: sa.Connection) -> None:
    # A read that becomes a write later could fail with SQLITE_BUSY despite the busy timeout.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _insert(connection: sa.Connection, change: Change) -> None:
    build = change.build
    connection.execute(sa.insert(t.builds).values(rows.build_row(build)))
    for image in sorted(set(build.request.images)):
        connection.execute(sa.insert(t.images).values(build_id=build.id, image=image))
    for key, value in build.request.labels.items():
        connection.execute(sa.insert(t.labels).values(build_id=build.id, key=key, value=value))
    if change.idempotency is not None:
        connection.execute(
            sa.insert(t.idempotency_keys).values(
                owner=build.owner,
                key=change.idempotency.key,
                fingerprint=change.idempotency.fingerprint,
                build_id=build.id,
            )
        )
    for attempt in build.attempts:
        connection.execute(sa.insert(t.attempts).values(rows.attempt_row(build.id, attempt)))


def _update(connection: sa.Connection, build: Build, previous: Build) -> None:
    row = {k: v for k, v in rows.build_row(build).items() if k not in rows.UNCHANGING}
    result = connection.execute(
        sa.update(t.builds)
        .where(t.builds.c.id == build.id, t.builds.c.version == previous.version)
        .values(row)
    )
    if result.rowcount != 1:
        raise StaleWriteError(f"build {build.id} is no longer at version {previous.version}")
    known = {attempt.number: attempt for attempt in previous.attempts}
    for attempt in build.attempts:
        if attempt.number not in known:
            connection.execute(sa.insert(t.attempts).values(rows.attempt_row(build.id, attempt)))
        elif attempt != known[attempt.number]:
            connection.execute(
                sa.update(t.attempts)
                .where(t.attempts.c.build_id == build.id, t.attempts.c.number == attempt.number)
                .values(rows.attempt_row(build.id, attempt))
            )


def _load(connection: sa.Connection, query: sa.Select[Any]) -> list[tuple[int, Build]]:
    """(seq, build) of every row of `query` over table builds, in its order."""
    found = list(connection.execute(query).mappings())
    attempts: dict[str, list[Any]] = {row["id"]: [] for row in found}
    ids = list(attempts)
    # SQLite binds at most 32766 variables in one statement (SQLITE_MAX_VARIABLE_NUMBER).
    for start in range(0, len(ids), 10_000):
        some = ids[start : start + 10_000]
        of_some = sa.select(t.attempts).where(t.attempts.c.build_id.in_(some))
        for row in connection.execute(of_some.order_by(t.attempts.c.number)).mappings():
            attempts[row["build_id"]].append(row)
    return [(row["seq"], rows.to_build(dict(row), attempts[row["id"]])) for row in found]


def _filtered(query: ListQuery) -> sa.Select[Any]:
    statement = sa.select(t.builds)
    if query.states:
        statement = statement.where(t.builds.c.state.in_([s.value for s in query.states]))
    if query.git_url is not None:
        statement = statement.where(t.builds.c.git_url == query.git_url)
    if query.owner is not None:
        statement = statement.where(t.builds.c.owner == query.owner)
    if query.image is not None:
        with_image = sa.select(t.images.c.build_id).where(t.images.c.image == query.image)
        statement = statement.where(t.builds.c.id.in_(with_image))
    if query.label is not None:
        key, value = query.label
        with_label = sa.select(t.labels.c.build_id).where(
            t.labels.c.key == key, t.labels.c.value == value
        )
        statement = statement.where(t.builds.c.id.in_(with_label))
    return statement


def _encode_cursor(seq: int) -> str:
    return base64.urlsafe_b64encode(f"seq:{seq}".encode()).decode().rstrip("=")


def _decode_cursor(cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        kind, _, number = text.partition(":")
        if kind == "seq" and number.isdecimal() and len(number) < 19:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    problem = FieldProblem("cursor", "is not one of ours: use the `next` link of a page")
    raise InvalidInputError([problem])
