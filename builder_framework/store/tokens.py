"""`people.Tokens` in the database, for every process of it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from builder_framework.domain.access import Role
from builder_framework.errors import ConflictError, NotFoundError
from builder_framework.people import Token
from builder_framework.store import migrate
from builder_framework.store import tables as t
from builder_framework.store.sql import SqlStore

_MINUTE = 60.0


class SqlTokens:
    """See `people.Tokens`."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def create(self, token: Token) -> None:
        """See `people.Tokens`."""
        row = {column.name: getattr(token, column.name) for column in t.tokens.c}
        same = (t.tokens.c.owner == token.owner, t.tokens.c.name == token.name)
        with self._store.writing() as connection:
            migrate.check_stored(connection)
            if connection.execute(sa.select(t.tokens.c.id).where(*same)).first() is not None:
                raise ConflictError(f"there is a token {token.name!r} of yours: revoke it first")
            connection.execute(sa.insert(t.tokens).values({**row, "role": token.role.value}))

    def find(self, token_id: str) -> Token | None:
        """See `people.Tokens`."""
        query = sa.select(t.tokens).where(t.tokens.c.id == token_id)
        with self._store.reading() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _token(row)

    def used(self, token: Token, now: float) -> None:
        """See `people.Tokens`."""
        if token.last_used_at is not None and now - token.last_used_at < _MINUTE:
            return
        change = sa.update(t.tokens).where(t.tokens.c.id == token.id).values(last_used_at=now)
        with self._store.writing() as connection:
            connection.execute(change)

    def list(self, owner: str | None = None) -> tuple[Token, ...]:
        """See `people.Tokens`."""
        query = sa.select(t.tokens).order_by(t.tokens.c.created_at.desc(), t.tokens.c.id)
        if owner is not None:
            query = query.where(t.tokens.c.owner == owner)
        with self._store.reading() as connection:
            return tuple(_token(row) for row in connection.execute(query).mappings())

    def revoke(self, token_id: str, owner: str | None = None) -> None:
        """See `people.Tokens`."""
        query = sa.delete(t.tokens).where(t.tokens.c.id == token_id)
        if owner is not None:
            query = query.where(t.tokens.c.owner == owner)
        with self._store.writing() as connection:
            if connection.execute(query).rowcount == 0:
                raise NotFoundError(f"there is no token {token_id!r}")


def _token(row: sa.RowMapping) -> Token:
    values: dict[str, Any] = dict(row)
    return Token(**{**values, "role": Role(values["role"])})
