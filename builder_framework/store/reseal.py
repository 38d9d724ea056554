"""Seals with the first key what others had sealed, while processes go on using the database.

Each batch of rows is a transaction of its own. It changes only columns that nobody else writes
twice, and no version, so it is in the way of no compare-and-set.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from builder_framework import seal
from builder_framework.errors import SealError, StoreUnavailableError
from builder_framework.seal import Sealer
from builder_framework.store import engine, migrate, rows, seals
from builder_framework.store import tables as t

_BATCH = 200
# Rows that a transaction of somebody else holds are left for the next round.
_ROUNDS = 30
_BETWEEN_ROUNDS = 1.0


_Key = tuple[Any, ...]


@dataclass(frozen=True)
class _Column:
    """`value` is sealed. `keys` tell a row, in order; `subject`: the column that contexts name.

    `renewed` (value, subject, sealer): None when the first key sealed it. Raises SealError.
    """

    value: sa.Column[Any]
    subject: sa.Column[Any]
    keys: tuple[sa.Column[Any], ...]
    renewed: Callable[[str, str, Sealer], str | None]

    @property
    def table(self) -> str:
        """Its name."""
        return str(self.value.table.name)


def reseal(url: str, sealer: Sealer) -> dict[str, int]:
    """Rows that were sealed anew, by table. Afterwards nothing is sealed with other keys any more.

    Every process seals with the new key from the first moment on, and needs the old ones until the
    last. Raises ConfigError, SchemaError, StoreUnavailableError and SealError; what was done by
    then stays done, and the same call goes on with the rest.
    """
    opened = engine.create_existing(engine.parse(url))
    try:
        with engine.told_apart():
            with opened.begin() as connection:
                migrate.check_stored(connection)
                seals.check(connection, sealer)
                seals.begin_change(connection, sealer)
            done = {column.table: _reseal(opened, column, sealer) for column in _COLUMNS}
            with opened.begin() as connection:
                _check_first(connection, sealer)
                seals.end_change(connection)
    finally:
        opened.dispose()
    return done


def _reseal(opened: sa.Engine, column: _Column, sealer: Sealer) -> int:
    """Rows that were changed."""
    changed = 0
    for _ in range(_ROUNDS):
        left = 0
        for batch in _batches(opened, column):
            new = {key: column.renewed(value, subject, sealer) for key, subject, value in batch}
            wanted = {key: value for key, value in new.items() if value is not None}
            written = _write(opened, column, wanted, sealer)
            changed += written
            left += len(wanted) - written
        if not left:
            return changed
        time.sleep(_BETWEEN_ROUNDS)
    raise StoreUnavailableError(
        f"some rows of {column.table} are in use all the time: try again later"
    )


def _batches(opened: sa.Engine, column: _Column) -> Iterator[list[tuple[_Key, str, str]]]:
    """All rows, some at a time: key, `subject` and `value`."""
    query: sa.Select[Any] = (
        sa.select(*column.keys, column.subject, column.value).order_by(*column.keys).limit(_BATCH)
    )
    following = query
    while True:
        with engine.for_reads(opened).begin() as connection:
            found = connection.execute(following).all()
        batch = [(tuple(row[:-2]), row[-2], row[-1]) for row in found]
        if not batch:
            return
        yield batch
        following = query.where(sa.tuple_(*column.keys) > batch[-1][0])


def _write(opened: sa.Engine, column: _Column, new: dict[_Key, str], sealer: Sealer) -> int:
    """Rows that were changed: those of `new`, by their keys, that nobody else holds.

    Waiting for one while holding others could be what the leader does, too: a deadlock.
    """
    if not new:
        return 0
    free = (
        sa.select(*column.keys)
        .where(sa.tuple_(*column.keys).in_(list(new)))
        # Rows that refer to these may be inserted meanwhile (FOR NO KEY UPDATE).
        .with_for_update(skip_locked=True, key_share=True)
    )
    with opened.begin() as connection:
        _check_first(connection, sealer)
        held = [tuple(row) for row in connection.execute(free)]
        for key in held:
            same = [part == value for part, value in zip(column.keys, key, strict=True)]
            connection.execute(
                sa.update(column.value.table).where(*same).values({column.value: new[key]})
            )
    return len(held)


def _check_first(connection: sa.Connection, sealer: Sealer) -> None:
    """Two changes at once, to different keys, would leave rows that nobody looks for."""
    first = sealer.key_ids[0]
    if (now := seals.current(connection, sealer).key_ids[0]) != first:
        raise SealError(f"the key was changed from {first} to {now} meanwhile: reseal to one only")


def _renewed(context: Callable[[str], str]) -> Callable[[str, str, Sealer], str | None]:
    """For columns whose whole value is sealed."""

    def renewed(value: str, subject: str, sealer: Sealer) -> str | None:
        if seal.key_of(value) == sealer.key_ids[0]:
            return None
        return sealer.seal(sealer.open(value, context(subject)), context(subject))

    return renewed


_COLUMNS = (
    _Column(t.builds.c.request, t.builds.c.id, (t.builds.c.seq,), rows.renewed_request),
    _Column(t.deliveries.c.url, t.deliveries.c.id, (t.deliveries.c.seq,), _renewed(seals.of_url)),
    _Column(
        t.idempotency_keys.c.fingerprint,
        t.idempotency_keys.c.build_id,
        (t.idempotency_keys.c.owner, t.idempotency_keys.c.key),
        _renewed(seals.of_fingerprint),
    ),
    _Column(
        t.credentials.c.value,
        t.credentials.c.id,
        (t.credentials.c.id,),
        _renewed(seals.of_credential),
    ),
)
