"""The store on SQLAlchemy: SQLite beside the process, or a PostgreSQL server."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa

from builder_framework.domain import dedupe
from builder_framework.domain.delivery import Delivery
from builder_framework.domain.model import Build, BuildRequest
from builder_framework.errors import (
    BuilderError,
    StaleWriteError,
    StoreUnavailableError,
    no_build,
)
from builder_framework.ports import Idempotency, ListQuery
from builder_framework.seal import Sealer
from builder_framework.store import changes as write
from builder_framework.store import engine, leadership, measures, migrate, queries, seals, search
from builder_framework.store import tables as t
from builder_framework.store.base import (
    ATTENDED,
    CANCEL,
    JOINED,
    SUBMITTED,
    Change,
    InboxItem,
    KnownKey,
    Leader,
)
from builder_framework.store.deliveries import SqlOutbox
from builder_framework.store.deployments import SqlDeployments

log = logging.getLogger(__name__)

_FRAMEWORK_ID = "framework_id"
_PING = "ping"


class CommitUnknownError(StoreUnavailableError):
    """The answer to a commit got lost: it may have happened, or may still happen."""


class SqlStore:
    """`Store` on any database that SQLAlchemy and our migrations know."""

    def __init__(self, url: str, sealer: Sealer) -> None:
        """Open the database and bring its schema up to date. `sealer`: for the secrets in it.

        Raises ConfigError, also when the sealer lacks a key of the database;
        StoreUnavailableError, SchemaError.
        """
        self._engine = engine.create(engine.parse(url))
        self._reads = engine.for_reads(self._engine)
        self._sealer = sealer
        self._token: int | None = None
        self._unsettled: Sequence[Change] = ()
        self.outbox = SqlOutbox(self.reading, self.writing, self.leading, sealer)
        self.deployments = SqlDeployments(self.reading, self.leading, sealer)
        try:
            with self.writing() as connection, engine.unhurried(connection):
                migrate.upgrade(connection, sealer)
                seals.check(connection, sealer)
                key = seals.current(connection, sealer).key_ids[0]
            log.info("secrets of the database are sealed with key %s", key)
            self._forget_clear_text()
        except BuilderError:
            self.close()
            raise

    def _forget_clear_text(self) -> None:
        """What a migration sealed still stands in clear in unused pages of a SQLite file."""
        with self.reading() as connection:
            if not seals.holds_clear_text(connection):
                return
        log.info("the file is written anew, without what stood in it in clear")
        try:
            engine.write_anew(self._engine)
            with self.writing() as connection:
                seals.forgot_clear_text(connection)
        except StoreUnavailableError as error:
            log.warning("unused pages may hold secrets in clear until the next start: %s", error)

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    # -- transactions --------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database."""
        with engine.told_apart(), self._reads.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that anybody may make. Raises CommitUnknownError at its end."""
        committing = False
        try:
            with engine.told_apart(), self._engine.begin() as connection:
                yield connection
                committing = True
        except StoreUnavailableError as error:
            if committing:
                raise CommitUnknownError(error.message) from None
            raise

    @contextmanager
    def leading(self) -> Iterator[sa.Connection]:
        """A transaction of the leader. Raises LeadershipLostError, SchemaError."""
        with self.writing() as connection:
            leadership.hold(connection, self._token)
            yield connection

    def forget_words(self, connection: sa.Connection, ids: Sequence[str]) -> None:
        """Builds are found no more: they are about to be removed."""
        query = sa.select(t.builds).where(t.builds.c.id.in_(ids))
        write.forget_words(connection, queries.load(connection, query, self._sealer))

    # -- the leader ----------------------------------------------------------------------------

    def lead(self, holder: str, url: str | None) -> int:
        with self.writing() as connection:
            migrate.check_stored(connection)
            # The key may have been changed since this process started.
            seals.check(connection, self._sealer)
            token = leadership.take(connection, holder, url)
        self._token = token
        return token

    def leader(self) -> Leader | None:
        with self.reading() as connection:
            return leadership.current(connection)

    def check_leadership(self) -> None:
        with self.reading() as connection:
            leadership.check(connection, self._token)

    def apply(self, changes: Sequence[Change], taken: Sequence[int] = ()) -> None:
        if self._unsettled and self._happened():
            raise StaleWriteError("a commit whose answer got lost was made after all")
        try:
            with self.leading() as connection:
                sealer = seals.current(connection, self._sealer)
                for change in changes:
                    write.write(connection, change, sealer)
                measures.add(connection, changes)
                if taken:
                    connection.execute(sa.delete(t.inbox).where(t.inbox.c.seq.in_(taken)))
        except CommitUnknownError:
            self._unsettled = changes
            if not changes or not self._happened():
                raise

    def _happened(self) -> bool:
        """Whether the unsettled commit was made; certain, because nothing of it still runs."""
        with self.writing() as connection:
            leadership.hold(connection, self._token, alone=True)
            # One stands for all of them.
            build = self._unsettled[0].build
            version = sa.select(t.builds.c.version).where(t.builds.c.id == build.id)
            happened = connection.execute(version).scalar() == build.version
        self._unsettled = ()
        return happened

    def save_framework_id(self, framework_id: str) -> None:
        with self.leading() as connection:
            connection.execute(sa.delete(t.settings).where(t.settings.c.name == _FRAMEWORK_ID))
            connection.execute(sa.insert(t.settings).values(name=_FRAMEWORK_ID, value=framework_id))

    # -- everybody -----------------------------------------------------------------------------

    def submit(
        self,
        build: Build,
        idempotency: Idempotency | None,
        deliveries: Sequence[Delivery] = (),
        window: float = 0.0,
    ) -> tuple[Build, bool]:
        try:
            with self.writing() as connection:
                return self._submit(connection, build, idempotency, deliveries, window)
        except _KeyTakenError:
            # Somebody used the key at the same time and was faster: now it is known.
            return self.submit(build, idempotency, deliveries, window)

    def _submit(
        self,
        connection: sa.Connection,
        build: Build,
        key: Idempotency | None,
        deliveries: Sequence[Delivery],
        window: float,
    ) -> tuple[Build, bool]:
        migrate.check_stored(connection)
        if key is not None:
            known = queries.known_key(connection, build.owner, key.key, self._sealer)
            if known is not None:
                known.check(key)
                found = queries.load(connection, queries.one(known.build_id), self._sealer)
                return found[0][1], False
        sealer = seals.current(connection, self._sealer)
        same = None
        if dedupe.applies(build.request):
            same = self._same(connection, build.request, build.owner)
        if same is not None and dedupe.joins(build.request, same, build.created_at, window):
            _post(connection, JOINED, same.id, build.owner, build.created_at)
            _bind(connection, same, key, sealer)
            return same, False
        write.write(connection, Change(build, deliveries=tuple(deliveries)), sealer)
        _post(connection, SUBMITTED, build.id, build.owner, build.created_at)
        _bind(connection, build, key, sealer)
        return build, True

    def ask_cancel(self, build_id: str, by: str, at: float) -> None:
        with self.writing() as connection:
            migrate.check_stored(connection)
            if not queries.load(connection, queries.one(build_id), self._sealer):
                raise no_build(build_id)
            _post(connection, CANCEL, build_id, by, at)

    def tell_attended(self, build_id: str, at: float) -> None:
        with self.writing() as connection:
            migrate.check_stored(connection)
            _post(connection, ATTENDED, build_id, "", at)

    def inbox(self, limit: int) -> list[InboxItem]:
        query = sa.select(t.inbox).order_by(t.inbox.c.seq).limit(limit)
        with self.reading() as connection:
            return [InboxItem(**row) for row in connection.execute(query).mappings()]

    def same(self, request: BuildRequest, owner: str) -> Build | None:
        with self.reading() as connection:
            return self._same(connection, request, owner)

    def _same(self, connection: sa.Connection, request: BuildRequest, owner: str) -> Build | None:
        sealer = seals.current_to_read(connection, self._sealer)
        found = queries.load(connection, queries.same(request, owner, sealer), self._sealer)
        return found[0][1] if found else None

    def known_key(self, owner: str, key: str) -> KnownKey | None:
        with self.reading() as connection:
            return queries.known_key(connection, owner, key, self._sealer)

    def get(self, build_id: str) -> Build:
        with self.reading() as connection:
            found = queries.load(connection, queries.one(build_id), self._sealer)
        if not found:
            raise no_build(build_id)
        return found[0][1]

    def unfinished(self) -> list[Build]:
        with self.reading() as connection:
            found = queries.load(connection, queries.unfinished(), self._sealer)
        return [build for _, build in found]

    def list(self, query: ListQuery) -> tuple[list[Build], str | None]:
        with self.reading() as connection:
            return search.page(connection, query, self._sealer)

    def framework_id(self) -> str | None:
        query = sa.select(t.settings.c.value).where(t.settings.c.name == _FRAMEWORK_ID)
        with self.reading() as connection:
            value: str | None = connection.execute(query).scalar()
        return value

    def ping(self) -> None:
        with self.writing() as connection:
            migrate.check_stored(connection)
            seals.current(connection, self._sealer)
            touched = sa.update(t.settings).where(t.settings.c.name == _PING).values(value="")
            if connection.execute(touched).rowcount != 1:
                raise StoreUnavailableError("the database lacks a row that every version writes")

    def close(self) -> None:
        self._engine.dispose()


class _KeyTakenError(Exception):
    pass


def _bind(connection: sa.Connection, build: Build, key: Idempotency | None, sealer: Sealer) -> None:
    """Raises _KeyTakenError."""
    if key is None:
        return
    try:
        write.bind(connection, build, key, sealer)
    except sa.exc.IntegrityError as error:
        if t.idempotency_keys.name not in str(error.orig):
            raise
        raise _KeyTakenError from None


def _post(connection: sa.Connection, kind: str, build_id: str, by: str, at: float) -> None:
    connection.execute(sa.insert(t.inbox).values(kind=kind, build_id=build_id, by=by, at=at))
