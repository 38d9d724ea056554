"""`people.Projects` in the database, for every process of it; what opens anything is sealed."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from builder_framework import codec
from builder_framework.domain.access import Role
from builder_framework.domain.projects import Catalog, Credential, GitCredential, Project
from builder_framework.domain.states import TERMINAL, State
from builder_framework.errors import ConflictError, NotFoundError, no_project
from builder_framework.recipe import RegistryLogin
from builder_framework.redact import Secret
from builder_framework.seal import Sealer
from builder_framework.store import migrate, seals
from builder_framework.store import tables as t
from builder_framework.store.sql import SqlStore

_OVER = [state.value for state in TERMINAL]
_KINDS: Mapping[str, type[RegistryLogin | GitCredential]] = {
    "registry": RegistryLogin,
    "git": GitCredential,
}
_VALUE = "secret"


class SqlProjects:
    """See `people.Projects`."""

    def __init__(self, store: SqlStore, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer

    def all(self) -> Catalog:
        """See `people.Projects`."""
        return catalog(self._store)

    def put(self, project: Project) -> bool:
        """See `people.Projects`."""
        text, same = codec.encode(project).decode(), t.projects.c.name == project.name
        with self._store.writing() as connection:
            migrate.check_stored(connection)
            changed = connection.execute(sa.update(t.projects).where(same).values(project=text))
            if changed.rowcount:
                return False
            row = {"name": project.name, "project": text, "created_at": time.time()}
            connection.execute(sa.insert(t.projects).values(row))
            return True

    def remove(self, name: str) -> None:
        """See `people.Projects`."""
        with self._store.writing() as connection:
            _hold(connection, name)
            running = sa.select(t.builds.c.id).where(
                t.builds.c.project == name, t.builds.c.state.not_in(_OVER)
            )
            if connection.execute(running.limit(1)).first() is not None:
                raise ConflictError(f"project {name!r} has builds that are not over: cancel them")
            for table in (t.members, t.credentials):
                connection.execute(sa.delete(table).where(table.c.project == name))
            connection.execute(sa.delete(t.projects).where(t.projects.c.name == name))

    def roles_of(self, user: str) -> Mapping[str, Role]:
        """See `people.Memberships`."""
        query = sa.select(t.members.c.project, t.members.c.role).where(t.members.c.user == user)
        with self._store.reading() as connection:
            return {row.project: Role(row.role) for row in connection.execute(query)}

    def members(self, name: str) -> Mapping[str, Role]:
        """See `people.Projects`."""
        member = t.members.c
        query = sa.select(member.user, member.role).where(member.project == name)
        with self._store.reading() as connection:
            _known(connection, name)
            found = connection.execute(query.order_by(member.user))
            return {row.user: Role(row.role) for row in found}

    def put_member(self, name: str, user: str, role: Role) -> None:
        """See `people.Projects`."""
        member = t.members.c
        with self._store.writing() as connection:
            _hold(connection, name)
            connection.execute(
                sa.delete(t.members).where(member.project == name, member.user == user)
            )
            if role is not Role.NONE:
                row = {"project": name, "user": user, "role": role.value}
                connection.execute(sa.insert(t.members).values(row))

    def credentials(self, name: str) -> Mapping[str, Credential]:
        """See `people.Projects`."""
        query = sa.select(t.credentials).where(t.credentials.c.project == name)
        with self._store.reading() as connection:
            _known(connection, name)
            rows = connection.execute(query.order_by(t.credentials.c.name)).mappings()
            return {row["name"]: self._opened(row) for row in rows}

    def put_credential(self, name: str, credential: str, value: Credential) -> None:
        """See `people.Projects`."""
        row_id = secrets.token_hex(16)
        with self._store.writing() as connection:
            _hold(connection, name)
            connection.execute(_without(name, credential))
            sealer = seals.current(connection, self._sealer)
            sealed = sealer.seal(_text(value), seals.of_credential(row_id))
            connection.execute(
                sa.insert(t.credentials).values(
                    id=row_id,
                    project=name,
                    name=credential,
                    kind=_kind(value),
                    value=sealed,
                    changed_at=time.time(),
                )
            )

    def remove_credential(self, name: str, credential: str) -> None:
        """See `people.Projects`."""
        with self._store.writing() as connection:
            if connection.execute(_without(name, credential)).rowcount == 0:
                raise NotFoundError(f"project {name!r} has no credential {credential!r}")

    def waiting(self, name: str) -> int:
        """See `people.Projects`."""
        build = t.builds.c
        query = sa.select(sa.func.count()).where(
            build.state == State.QUEUED.value, build.project == name
        )
        with self._store.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def _opened(self, row: sa.RowMapping) -> Credential:
        text = self._sealer.open(row["value"], seals.of_credential(row["id"]))
        if row["kind"] == _VALUE:
            return Secret(text)
        return codec.decode(_KINDS[row["kind"]], text)


def catalog(store: SqlStore) -> Catalog:
    """Every project. Raises StoreUnavailableError."""
    with store.reading() as connection:
        found = connection.execute(sa.select(t.projects.c.project)).scalars()
        return Catalog([codec.decode(Project, text) for text in found])


def _kind(value: Credential) -> str:
    found = (kind for kind, type_ in _KINDS.items() if isinstance(value, type_))
    return next(found, _VALUE)


def _text(value: Credential) -> str:
    return value.reveal() if isinstance(value, Secret) else codec.encode(value).decode()


def _without(project: str, credential: str) -> sa.Delete:
    column = t.credentials.c
    return sa.delete(t.credentials).where(column.project == project, column.name == credential)


def _known(connection: sa.Connection, name: str) -> None:
    _found(connection, sa.select(t.projects.c.name).where(t.projects.c.name == name), name)


def _hold(connection: sa.Connection, name: str) -> None:
    """Nobody changes or removes it until the transaction's end. Raises NotFoundError."""
    migrate.check_stored(connection)
    query = sa.select(t.projects.c.name).where(t.projects.c.name == name)
    _found(connection, query.with_for_update(), name)


def _found(connection: sa.Connection, query: sa.Select[Any], name: str) -> None:
    if connection.execute(query).first() is None:
        raise no_project(name)
