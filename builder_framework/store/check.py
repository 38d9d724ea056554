"""What is wrong with a database: read, never changed, and never migrated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import sqlalchemy as sa
from alembic.migration import MigrationContext

from builder_framework import seal
from builder_framework.domain.model import Build
from builder_framework.domain.states import ON_AGENT, State
from builder_framework.errors import BuilderError, SealError, StoreUnavailableError
from builder_framework.seal import Sealer, key_of
from builder_framework.store import engine, migrate, queries, rows, seals
from builder_framework.store import tables as t
from builder_framework.store.seals import Opener

_PAGE = 500


@dataclass(frozen=True)
class Finding:
    """What a database holds, and sentences about what it should not.

    `keys`: for each key, by its id, how many values are sealed with it.
    """

    schema: str | None
    builds: dict[str, int]
    rows: dict[str, int]
    problems: tuple[str, ...]
    keys: dict[str, int] = field(default_factory=dict)


class _Counting:
    """Opens as its sealer does, and counts keys. Without one, all that is sealed reads as empty."""

    def __init__(self, sealer: Sealer | None) -> None:
        self._sealer = sealer
        self.keys: Counter[str] = Counter()

    def open(self, sealed: str, context: str) -> str:
        """Raises SealError."""
        key = key_of(sealed)
        if key is None:
            raise seal.not_sealed(context)
        self.keys[key] += 1
        return self._sealer.open(sealed, context) if self._sealer else ""


def examine(url: str, sealer: Sealer | None) -> Finding:
    """Look at everything in one consistent state. Raises ConfigError, StoreUnavailableError.

    Without the key of the database (None: there is no key) all but its secrets is looked at.
    """
    parsed = engine.parse(url)
    opened = engine.create_existing(parsed)
    try:
        with (
            engine.told_apart(),
            engine.for_reads(opened).begin() as connection,
            engine.unhurried(connection),
        ):
            return _examine(connection, sealer)
    except StoreUnavailableError as error:
        if engine.sqlite_file(parsed) is None:
            raise
        # A file that can be opened and not be read is what was looked for.
        return Finding(None, {}, {}, (error.message,))
    finally:
        opened.dispose()


def _examine(connection: sa.Connection, sealer: Sealer | None) -> Finding:
    damage = list(_damage(connection))
    if damage:
        return Finding(None, {}, {}, tuple(damage))
    schema = MigrationContext.configure(connection).get_current_revision()
    if schema != migrate.head():
        problem = f"it has schema {schema}, and this version knows only {migrate.head()}"
        return Finding(schema, {}, {}, (problem,))
    keyless = list(_keyless(connection, sealer))
    opener = _Counting(None if keyless else sealer)
    problems = [
        *keyless,
        *_orphans(connection),
        *_builds(connection, opener),
        *_gaps(connection),
        *_sealed(connection, opener),
    ]
    return Finding(
        schema, _states(connection), _counts(connection), tuple(problems), dict(opener.keys)
    )


def _keyless(connection: sa.Connection, sealer: Sealer | None) -> Iterator[str]:
    """Why nothing can be opened: one sentence instead of one for each row."""
    try:
        seals.check(connection, sealer)
    except BuilderError as error:
        yield error.message


def _damage(connection: sa.Connection) -> Iterator[str]:
    """Pages of the file that contradict each other; a server looks after its files itself."""
    if connection.dialect.name != "sqlite":
        return
    for (line,) in connection.exec_driver_sql("PRAGMA integrity_check"):
        if line != "ok":
            yield f"the file is damaged: {line}"


def _states(connection: sa.Connection) -> dict[str, int]:
    query = sa.select(t.builds.c.state, sa.func.count()).group_by(t.builds.c.state)
    found = {row[0]: row[1] for row in connection.execute(query)}
    return {state.value: found[state.value] for state in State if state.value in found}


def _counts(connection: sa.Connection) -> dict[str, int]:
    return {
        table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for table in t.metadata.sorted_tables
    }


def _orphans(connection: sa.Connection) -> Iterator[str]:
    """Rows that belong to a row that is not there: SQLite checks that only where it is asked to."""
    for table in t.metadata.sorted_tables:
        for key in table.foreign_keys:
            query = (
                sa.select(key.parent)
                .distinct()
                .where(key.parent.not_in(sa.select(key.column)))
                .order_by(key.parent)
            )
            for (value,) in connection.execute(query):
                yield f"{table.name} has rows of {value}, which is not in {key.column.table.name}"


def _builds(connection: sa.Connection, opener: Opener) -> Iterator[str]:
    seq = 0
    while True:
        query = sa.select(t.builds).where(t.builds.c.seq > seq).order_by(t.builds.c.seq)
        page = connection.execute(query.limit(_PAGE)).mappings().all()
        if not page:
            return
        seq = page[-1]["seq"]
        attempts = queries.attempts(connection, [row["id"] for row in page])
        for row in page:
            yield from (f"build {row['id']}: {fault}" for fault in _of_row(row, attempts, opener))


def _of_row(
    row: sa.RowMapping, attempts: dict[str, list[sa.RowMapping]], opener: Opener
) -> Iterator[str]:
    try:
        build = rows.to_build(dict(row), map(dict, attempts[row["id"]]), opener)
    except SealError as error:
        yield error.message
        return
    except (BuilderError, ValueError) as error:
        yield f"it cannot be read: {type(error).__name__}"
        return
    yield from faults(build)


def _sealed(connection: sa.Connection, opener: Opener) -> Iterator[str]:
    """Sealed values besides those of builds."""
    if seals.holds_clear_text(connection):
        yield "unused pages of the file may hold secrets in clear: start the framework once"
    url, key = t.deliveries.c, t.idempotency_keys.c
    for value, row in connection.execute(sa.select(url.url, url.id)):
        yield from _closed(value, seals.of_url(row), opener)
    for value, row in connection.execute(sa.select(key.fingerprint, key.build_id)):
        yield from _closed(value, seals.of_fingerprint(row), opener)
    for value, row in connection.execute(sa.select(t.credentials.c.value, t.credentials.c.id)):
        yield from _closed(value, seals.of_credential(row), opener)


def _closed(value: str, context: str, opener: Opener) -> Iterator[str]:
    try:
        opener.open(value, context)
    except SealError as error:
        yield error.message


def _gaps(connection: sa.Connection) -> Iterator[str]:
    chunk = t.log_chunks.c
    query = sa.select(chunk.build_id, chunk.offset, sa.func.length(chunk.data))
    build_id, end = None, 0
    for each, offset, length in connection.execute(query.order_by(chunk.build_id, chunk.offset)):
        if each != build_id:
            build_id, end = each, 0
        if offset != end:
            yield f"the log of build {each} goes on at {offset} after {end} bytes"
        end = offset + length


def faults(build: Build) -> Iterator[str]:
    """What a build says that cannot be, whatever happened to it."""
    numbers = [attempt.number for attempt in build.attempts]
    live = [attempt.number for attempt in build.attempts if attempt.live]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"its attempts are numbered {numbers}"
    if build.terminal and build.ended_at is None:
        yield f"it is {build.state.value} and never ended"
    if not build.terminal and build.ended_at is not None:
        yield f"it is {build.state.value} and has ended"
    if build.state is State.SUCCEEDED and build.result.digest is None:
        yield "it succeeded without a digest"
    expected = numbers[-1:] if build.state in ON_AGENT else []
    if build.state in ON_AGENT and not numbers:
        yield f"it is {build.state.value} without an attempt"
    elif live != expected:
        yield f"it is {build.state.value}, and its attempts {live} are not over"
