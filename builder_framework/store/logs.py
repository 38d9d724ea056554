"""Build logs in the database, for leaders on different machines."""

from __future__ import annotations

import sqlalchemy as sa

from builder_framework.store import tables as t
from builder_framework.store.sql import SqlStore

_CHUNK = 64 * 1024
"""Bytes of a row at most: whoever reads one byte reads its whole row."""


class DatabaseLogs:
    """`service.logs.Logs` as rows, each with the offset of its first byte."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def size(self, build_id: str) -> int:
        with self._store.reading() as connection:
            return _size(connection, build_id)

    def append(self, build_id: str, data: bytes) -> None:
        """Raises LeadershipLostError, too: only the leader collects logs."""
        with self._store.leading() as connection:
            start = _size(connection, build_id)
            pieces = [
                {"build_id": build_id, "offset": start + at, "data": data[at : at + _CHUNK]}
                for at in range(0, len(data), _CHUNK)
            ]
            if pieces:
                connection.execute(sa.insert(t.log_chunks), pieces)

    def read(self, build_id: str, offset: int, limit: int) -> bytes:
        chunk = t.log_chunks.c
        first = sa.select(sa.func.max(chunk.offset)).where(
            chunk.build_id == build_id, chunk.offset <= offset
        )
        query = (
            sa.select(chunk.offset, chunk.data)
            .where(
                chunk.build_id == build_id,
                chunk.offset >= first.scalar_subquery(),
                chunk.offset < offset + limit,
            )
            .order_by(chunk.offset)
        )
        with self._store.reading() as connection:
            found = connection.execute(query).all()
        if not found:
            return b""
        skip = offset - found[0].offset
        return b"".join(row.data for row in found)[skip : skip + limit]

    def remove(self, build_id: str) -> None:
        """Nothing: see `service.logs.Logs`."""


def _size(connection: sa.Connection, build_id: str) -> int:
    chunk = t.log_chunks.c
    last = (
        sa.select(chunk.offset + sa.func.length(chunk.data))
        .where(chunk.build_id == build_id)
        .order_by(chunk.offset.desc())
        .limit(1)
    )
    return connection.execute(last).scalar() or 0
