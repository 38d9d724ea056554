"""Uploaded build contexts, in pieces, for every process of this database.

They stand there as they came, until their build is over.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterator
from typing import IO

import sqlalchemy as sa

from builder_framework.domain.states import TERMINAL
from builder_framework.errors import NotFoundError
from builder_framework.recipe import UploadSource
from builder_framework.redact import Secret
from builder_framework.store import migrate
from builder_framework.store import tables as t
from builder_framework.store.sql import SqlStore

_PIECE = 1024 * 1024
"""Bytes of a row: no transaction is long, and nothing is in memory as a whole."""

ABANDONED = 900.0
"""Seconds after which an upload without a build is one that nobody will ask for."""


_OVER = [state.value for state in TERMINAL]


class SqlUploads:
    """`ports.Uploads`."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def keep(self, content: IO[bytes], owner: str) -> UploadSource:
        """See `ports.Uploads`."""
        upload_id, token = secrets.token_hex(16), secrets.token_urlsafe(32)
        digest, size = hashlib.sha256(), 0
        with self._store.writing() as connection:
            migrate.check_stored(connection)
            connection.execute(
                sa.insert(t.uploads).values(
                    id=upload_id, owner=owner, token=_hash(token), created_at=time.time()
                )
            )
        for number, piece in enumerate(_pieces(content)):
            digest.update(piece)
            size += len(piece)
            row = {"upload_id": upload_id, "number": number, "data": piece}
            with self._store.writing() as connection:
                connection.execute(sa.insert(t.upload_pieces).values(row))
        return UploadSource(upload_id, digest.hexdigest(), size, Secret(token))

    def read(self, upload_id: str, token: str) -> Iterator[bytes]:
        """See `ports.Uploads`."""
        over = sa.select(t.builds.c.id).where(
            t.builds.c.upload_id == upload_id, t.builds.c.state.in_(_OVER)
        )
        known = sa.select(t.uploads.c.token).where(t.uploads.c.id == upload_id, ~over.exists())
        with self._store.reading() as connection:
            kept: str | None = connection.execute(known).scalar()
        if kept is None or not hmac.compare_digest(kept, _hash(token)):
            raise NotFoundError("there is no such upload, or this is not its token")
        return self._all(upload_id)

    def _all(self, upload_id: str) -> Iterator[bytes]:
        piece, number = t.upload_pieces.c, 0
        while True:
            query = sa.select(piece.data).where(
                piece.upload_id == upload_id, piece.number == number
            )
            with self._store.reading() as connection:
                data: bytes | None = connection.execute(query).scalar()
            if data is None:
                return
            yield data
            number += 1

    def sweep(self, now: float) -> int:
        """Remove what no build needs any more; how many. For the leader.

        Piece by piece: all at once would take longer than a statement may, and keep others from
        writing meanwhile.

        Raises StoreUnavailableError, LeadershipLostError.
        """
        builds = sa.select(t.builds.c.id).where(t.builds.c.upload_id == t.uploads.c.id)
        unfinished = builds.where(t.builds.c.state.not_in(_OVER))
        forgotten = t.uploads.c.created_at < now - ABANDONED
        query = sa.select(t.uploads.c.id).where(
            ~unfinished.exists(), sa.or_(builds.exists(), forgotten)
        )
        with self._store.reading() as connection:
            ids = list(connection.execute(query).scalars())
        for upload_id in ids:
            self._remove(upload_id)
        return len(ids)

    def _remove(self, upload_id: str) -> None:
        """The last piece first: what is left when this ends early is found again."""
        piece = t.upload_pieces.c
        last = sa.select(sa.func.max(piece.number)).where(piece.upload_id == upload_id)
        while True:
            with self._store.leading() as connection:
                number = connection.execute(last).scalar()
                if number is None:
                    connection.execute(sa.delete(t.uploads).where(t.uploads.c.id == upload_id))
                    return
                connection.execute(
                    sa.delete(t.upload_pieces).where(
                        piece.upload_id == upload_id, piece.number == number
                    )
                )


def _pieces(content: IO[bytes]) -> Iterator[bytes]:
    while piece := content.read(_PIECE):
        yield piece


def _hash(token: str) -> str:
    # Of 256 random bits: there is nothing to guess.
    return hashlib.sha256(token.encode()).hexdigest()
