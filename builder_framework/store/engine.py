"""Connections: SQLite beside the process, or a PostgreSQL server; neither may keep us waiting."""

from __future__ import annotations

import contextlib
import logging
import math
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from builder_framework.errors import ConfigError, FieldProblem, StoreUnavailableError

APPLICATION = "builder"
"""What PostgreSQL shows of our sessions (`pg_stat_activity.application_name`)."""

BUSY_PATIENCE = 5.0
"""Seconds to wait for another process that writes to the same SQLite file."""
_BUSY_POLL = 0.02

# Below the patience of whoever waits for the service (service.builds), lost answers included.
_CONNECT_SECONDS = 3
_LOCK_SECONDS = 3
_STATEMENT_SECONDS = 5
_ANSWER_SECONDS = 7.0
_IDLE_IN_TRANSACTION_SECONDS = 15
_POOL_SIZE = 5
_POOL_OVERFLOW = 10
_POOL_SECONDS = 5.0
# A log of writes longer than this is cut back when a checkpoint comes through (SQLite, bytes).
_WAL_LIMIT = 64 * 1024 * 1024

_READS = "builder_reads"

log = logging.getLogger(__name__)

Value = TypeVar("Value")


class PatientConnection(psycopg.Connection[Any]):
    """A connection that gives up on a server which does not answer.

    The server's own timeouts end nothing when it is stopped or unreachable, and while its machine
    acknowledges our packets TCP sees no fault either.
    """

    patience: float = _ANSWER_SECONDS
    """Seconds to wait for the answer to one statement."""

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return super().wait(_within(gen, self.patience), *arguments, **options)
        except _NoAnswerError:
            self.pgconn.finish()
            raise

    def __del__(self, *_: Any) -> None:
        # SQLAlchemy drops, without closing them, connections that failed while they were set up or
        # came back after the pool had been disposed of.
        if hasattr(self, "pgconn"):
            self.pgconn.finish()


class _NoAnswerError(psycopg.OperationalError):
    pass


def _within(steps: Generator[Any, Any, Value], seconds: float) -> Generator[Any, Any, Value]:
    """Run the driver's steps, which it resumes several times a second, until time is up."""
    deadline = time.monotonic() + seconds
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise _NoAnswerError(f"no answer within {seconds:.0f} s")
            wanted = steps.send(ready)
    except StopIteration as end:
        value: Value = end.value
        return value


def parse(url: str) -> sa.URL:
    """Raises ConfigError. `postgres://` and `postgresql://` mean psycopg."""
    try:
        parsed = sa.make_url(url)
    except SQLAlchemyError:
        raise _bad_url(
            "is no URL: sqlite:////PATH or postgresql://USER:PASSWORD@HOST/NAME"
        ) from None
    if parsed.drivername in {"postgres", "postgresql", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "sqlite":
        raise _bad_url(f"{parsed.drivername} is not supported: use sqlite or postgresql")
    if parsed.database in {None, "", ":memory:"}:
        raise _bad_url("names no file: sqlite:////PATH")
    return parsed


def _bad_url(problem: str) -> ConfigError:
    return ConfigError([FieldProblem("database_url", problem)])


def libpq(url: sa.URL) -> str:
    """A server's URL as libpq and its programs read it, with the password."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def sqlite_file(url: sa.URL) -> Path | None:
    """The database's file, None for a server."""
    if url.get_backend_name() != "sqlite" or url.database is None:
        return None
    return Path(url.database).absolute()


def create(url: sa.URL) -> sa.Engine:
    """Engine for `url`; nothing is opened yet."""
    path = sqlite_file(url)
    if path is None:
        engine = sa.create_engine(
            url,
            pool_pre_ping=True,
            pool_size=_POOL_SIZE,
            max_overflow=_POOL_OVERFLOW,
            pool_timeout=_POOL_SECONDS,
        )
        sa.event.listen(engine, "do_connect", _connect_patiently)
        return engine
    engine = sa.create_engine(url, pool_timeout=_POOL_SECONDS)
    file = _SqliteFile(path)
    sa.event.listen(engine, "do_connect", file.connect)
    sa.event.listen(engine, "connect", file.configure)
    sa.event.listen(engine, "begin", file.begin)
    return engine


def create_existing(url: sa.URL) -> sa.Engine:
    """Like `create`, for tools that must not make a new database. Raises StoreUnavailableError."""
    path = sqlite_file(url)
    if path is not None and not path.exists():
        raise StoreUnavailableError(f"there is no database {path}")
    return create(url)


def for_reads(engine: sa.Engine) -> sa.Engine:
    """The same connections, for transactions that read one consistent state and write nothing."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(**{_READS: True})
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


@contextlib.contextmanager
def told_apart() -> Iterator[None]:
    """Every fault of database and driver becomes StoreUnavailableError, without any values.

    Statements and the servers' details hold requests, with their secrets: only causes are told.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error, psycopg.Error) as error:
        raise StoreUnavailableError(f"the database does not answer: {cause(error)}") from None
    except sa.exc.TimeoutError:
        message = f"all {_POOL_SIZE + _POOL_OVERFLOW} connections to the database are busy"
        raise StoreUnavailableError(message) from None
    except SQLAlchemyError as error:
        raise StoreUnavailableError(f"the database failed: {type(error).__name__}") from None


def cause(error: Exception) -> str:
    """What went wrong, without values."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(origin, psycopg.Error) and origin.diag.message_primary:
        return origin.diag.message_primary
    return str(origin).partition("\n")[0]


@contextlib.contextmanager
def unhurried(connection: sa.Connection) -> Iterator[None]:
    """No time limits until the end of the transaction, for work that takes long once."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, PatientConnection):
        yield
        return
    for limit in ("statement_timeout", "lock_timeout"):
        connection.exec_driver_sql(f"SET LOCAL {limit} = 0")
    driver.patience = math.inf
    try:
        yield
    finally:
        driver.patience = _ANSWER_SECONDS


def write_anew(engine: sa.Engine) -> None:
    """Leave nothing in a SQLite file and its log of writes but what is stored now.

    What was overwritten or deleted stands in unused pages until something else needs them. Raises
    StoreUnavailableError, also while another process reads.
    """
    with told_apart():
        connection = engine.raw_connection()
        try:
            cursor = connection.cursor()
            _while_locked(lambda: cursor.execute("VACUUM"))
            (unfinished, _, _) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.close()
    if unfinished:
        raise StoreUnavailableError("another process reads the database")


def server_options() -> dict[str, Any]:
    """What every connection to PostgreSQL asks for, unless the URL says otherwise."""
    limits = {
        "statement_timeout": _STATEMENT_SECONDS,
        "lock_timeout": _LOCK_SECONDS,
        # A process that was stopped inside a transaction holds its locks no longer than this.
        "idle_in_transaction_session_timeout": _IDLE_IN_TRANSACTION_SECONDS,
    }
    # A peer that vanished without a word is noticed within 10 s, by us and by the server.
    silence = {"tcp_keepalives_idle": 4, "tcp_keepalives_interval": 2, "tcp_keepalives_count": 3}
    options = {**{name: 1000 * seconds for name, seconds in limits.items()}, **silence}
    return {
        "connect_timeout": _CONNECT_SECONDS,
        "application_name": APPLICATION,
        "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        "keepalives": 1,
        "keepalives_idle": 4,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }


def _connect_patiently(
    _dialect: sa.Dialect, _record: Any, arguments: Any, parameters: dict[str, Any]
) -> PatientConnection:
    return PatientConnection.connect(*arguments, **{**server_options(), **parameters})


class _SqliteFile:
    """The file that was there when the first connection was made, and no other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity: tuple[int, int] | None = None

    def connect(
        self, _dialect: sa.Dialect, _record: Any, _arguments: Any, parameters: dict[str, Any]
    ) -> sqlite3.Connection:
        # Nothing but the first connection may make the file: it would be a new, empty database.
        first = self._identity is None
        if first:
            self._expect_a_new_database()
        self._check()
        uri = f"{self._path.as_uri()}?mode={'rwc' if first else 'rw'}"
        # Other processes are waited for by _while_locked, which does not stop other greenlets.
        options = {**parameters, "timeout": 0.0, "uri": True, "check_same_thread": False}
        connection: sqlite3.Connection = sqlite3.connect(uri, **options)
        if first:
            self._identity = _identity(self._path)
        return connection

    def configure(self, connection: sqlite3.Connection, _record: Any) -> None:
        # sqlite3 would open transactions by itself, and only before writes; see begin.
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            # A 202 is a promise: WAL with NORMAL may lose the last commits at a power cut.
            "synchronous=FULL",
            "foreign_keys=ON",
            f"journal_size_limit={_WAL_LIMIT}",
        ):
            _while_locked(partial(connection.execute, f"PRAGMA {pragma}"))

    def begin(self, connection: sa.Connection) -> None:
        self._check()
        if connection.get_execution_options().get(_READS):
            _while_locked(lambda: _begin_to_read(connection))
        else:
            # A read that becomes a write later could fail with SQLITE_BUSY whatever we do.
            _while_locked(lambda: connection.exec_driver_sql("BEGIN IMMEDIATE"))

    def _check(self) -> None:
        """A deleted file goes on to take writes that nobody will ever read again."""
        if self._identity is not None and _identity(self._path) != self._identity:
            raise StoreUnavailableError(
                f"the database {self._path} was deleted or replaced while it was in use: put it "
                "back or restore a backup, then start this process again"
            )

    def _expect_a_new_database(self) -> None:
        if self._path.exists():
            return
        wal = self._path.with_name(f"{self._path.name}-wal")
        if wal.exists():
            raise StoreUnavailableError(
                f"the database {self._path} is gone and {wal.name} is still there: put it back or "
                f"restore a backup; for a new, empty database delete {wal.name}"
            )
        log.warning("%s was not there: this is a new, empty database", self._path)


def _begin_to_read(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")
    try:
        # BEGIN alone takes neither a lock nor a snapshot.
        connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").close()
    except SQLAlchemyError:
        connection.exec_driver_sql("ROLLBACK")
        raise


def _while_locked(action: Callable[[], object]) -> None:
    """Do it as soon as no other process is in the way."""
    deadline = time.monotonic() + BUSY_PATIENCE
    while True:
        try:
            action()
            return
        except (OperationalError, sqlite3.OperationalError) as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(_BUSY_POLL)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
