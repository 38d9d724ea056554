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
        with self._store.reading() as connection:
            known = sa.select(t.uploads.c.token).where(t.uploads.c.id == upload_id)
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

        Raises StoreUnavailableError, LeadershipLostError.
        """
        over = [state.value for state in TERMINAL]
        builds = sa.select(t.builds.c.id).where(t.builds.c.upload_id == t.uploads.c.id)
        unfinished = builds.where(t.builds.c.state.not_in(over))
        forgotten = t.uploads.c.created_at < now - ABANDONED
        query = sa.select(t.uploads.c.id).where(
            ~unfinished.exists(), sa.or_(builds.exists(), forgotten)
        )
        with self._store.leading() as connection:
            ids = list(connection.execute(query).scalars())
            pieces = t.upload_pieces.c.upload_id.in_(ids)
            connection.execute(sa.delete(t.upload_pieces).where(pieces))
            connection.execute(sa.delete(t.uploads).where(t.uploads.c.id.in_(ids)))
        return len(ids)


def _pieces(content: IO[bytes]) -> Iterator[bytes]:
    while piece := content.read(_PIECE):
        yield piece


def _hash(token: str) -> str:
    # Of 256 random bits: there is nothing to guess.
    return hashlib.sha256(token.encode()).hexdigest()
