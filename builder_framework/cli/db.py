"""`builder db`: backups of the framework's database, and what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from builder_framework import backup as copies
from builder_framework import config
from builder_framework.cli import exits, output
from builder_framework.store import check as checks

_config_option = click.option(
    "--config",
    "config_file",
    envvar="BUILDER_CONFIG",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The framework's settings.  [env: BUILDER_CONFIG]",
)
_file_argument = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.group()
def db() -> None:
    """Back up, restore and check the database.

    Which one follows from the framework's own settings: BUILDER_DATA_DIR and
    BUILDER_DATABASE_URL (or BUILDER_DATABASE_URL_FILE), or the file given with --config.
    """


@db.command()
@_config_option
@_file_argument
def backup(config_file: Path | None, file: Path) -> None:
    """Copy the database to FILE; the framework may run meanwhile."""
    url, _ = config.database(os.environ, config_file)
    copies.backup(url, file)
    output.note(f"the database is in {file}")


@db.command()
@_config_option
@_file_argument
@click.option("--force", is_flag=True, help="Replace the database that is there.")
def restore(config_file: Path | None, file: Path, force: bool) -> None:
    """Make the backup FILE the database; no framework may run."""
    url, data_dir = config.database(os.environ, config_file)
    copies.restore(url, data_dir, file, force=force)
    output.note(f"the database is what {file} holds")


@db.command()
@_config_option
def check(config_file: Path | None) -> None:
    """Look for damage and contradictions: exit code 1 when there are any."""
    url, _ = config.database(os.environ, config_file)
    found = checks.examine(url)
    click.echo(f"schema {found.schema}")
    for state, number in found.builds.items():
        click.echo(f"builds {state} {number}")
    for table, number in found.rows.items():
        click.echo(f"rows {table} {number}")
    for problem in found.problems:
        click.echo(f"problem: {problem}")
    if found.problems:
        raise click.exceptions.Exit(exits.FAILED)
    output.note("no problem was found")
