"""Brings a database's schema to the version this code was written for, with Alembic."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from builder_framework import failpoints
from builder_framework.errors import SchemaError
from builder_framework.seal import Sealer

SCRIPTS = Path(__file__).parent / "migrations"

_VERSION = sa.table("alembic_version", sa.column("version_num", sa.String))
_LOCK = 0x6275696C64
"""Key of the advisory lock that lets one process migrate at a time: "build" in ASCII."""


def config() -> Config:
    """Alembic's configuration, without an ini file."""
    made = Config()
    made.set_main_option("script_location", str(SCRIPTS))
    made.set_main_option("path_separator", "os")
    return made


def upgrade(connection: sa.Connection, sealer: Sealer) -> None:
    """Run every migration that is missing, inside the connection's transaction.

    `sealer`: for secrets that a migration finds in clear or has to move. All of them are stored, or
    none: both databases undo changes of the schema, too. Raises SchemaError when the database is
    newer than this code.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision == head():
        return
    if revision is not None and revision not in _known():
        check(revision)
    made = config()
    made.attributes["connection"] = connection
    made.attributes["sealer"] = sealer
    command.upgrade(made, "head")
    failpoints.reach("T18.after")


def stored_revision() -> sa.ScalarSelect[Any]:
    """The revision that the database is at, as part of another query."""
    return sa.select(_VERSION.c.version_num).scalar_subquery()


def check(revision: str | None) -> None:
    """Raises SchemaError unless this code was written for that revision."""
    if revision != head():
        raise SchemaError(
            f"the database has schema {revision}, this version writes {head()} only: use the "
            "version that changed the schema, or restore a backup from before"
        )


def check_stored(connection: sa.Connection) -> None:
    """Like `check`, for what the database is at now."""
    check(connection.execute(sa.select(_VERSION.c.version_num)).scalar())


@functools.cache
def head() -> str:
    """The revision that this code was written for."""
    revision = ScriptDirectory.from_config(config()).get_current_head()
    if revision is None:  # pragma: no cover (a broken installation)
        raise RuntimeError("no migrations are installed")
    return revision


def _known() -> set[str]:
    return {each.revision for each in ScriptDirectory.from_config(config()).walk_revisions()}
