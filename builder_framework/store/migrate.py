"""Brings a database's schema to the version this code was written for, with Alembic."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from builder_framework import failpoints

SCRIPTS = Path(__file__).parent / "migrations"


def config() -> Config:
    """Alembic's configuration, without an ini file."""
    made = Config()
    made.set_main_option("script_location", str(SCRIPTS))
    made.set_main_option("path_separator", "os")
    return made


def upgrade(connection: sa.Connection) -> None:
    """Run every migration that is missing, inside the connection's transaction."""
    made = config()
    made.attributes["connection"] = connection
    command.upgrade(made, "head")
    failpoints.reach("T18.after")


def head() -> str:
    """The revision that this code was written for."""
    revision = ScriptDirectory.from_config(config()).get_current_head()
    if revision is None:  # pragma: no cover (a broken installation)
        raise RuntimeError("no migrations are installed")
    return revision
