"""`builder db`: backups of the framework's database, the key of its secrets, and what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import click

from builder_framework import backup as copies
from builder_framework import config, keys, seal
from builder_framework.cli import exits, output
from builder_framework.store import check as checks
from builder_framework.store import seals
from builder_framework.store.reseal import reseal as seal_anew

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
    """Back up, restore and check the database; change the key of its secrets.

    Which one follows from the framework's own settings: BUILDER_DATA_DIR, BUILDER_DATABASE_URL and
    BUILDER_SECRET_KEY (or BUILDER_DATABASE_URL_FILE and so on), or the file given with --config.
    """


@db.command()
@_config_option
@_file_argument
def backup(config_file: Path | None, file: Path) -> None:
    """Copy the database to FILE; the framework may run meanwhile.

    Secrets are sealed in it: keep the key, too, somewhere else.
    """
    copies.backup(config.storage(os.environ, config_file).url, file)
    output.note(f"the database is in {file}")


@db.command()
@_config_option
@_file_argument
@click.option("--force", is_flag=True, help="Replace the database that is there.")
def restore(config_file: Path | None, file: Path, force: bool) -> None:
    """Make the backup FILE the database; no framework may run."""
    storage = config.storage(os.environ, config_file)
    copies.restore(storage.url, storage.data_dir, file, force=force)
    output.note(f"the database is what {file} holds")
    needed, here = seals.key_needed(storage.url), keys.found(storage)
    if needed is not None and (here is None or needed not in here.key_ids):
        output.note(
            f"its secrets are sealed with key {needed}, which is not here: give it to the framework"
        )


@db.command()
@_config_option
def check(config_file: Path | None) -> None:
    """Look for damage and contradictions: exit code 1 when there are any."""
    storage = config.storage(os.environ, config_file)
    found = checks.examine(storage.url, keys.found(storage))
    click.echo(f"schema {found.schema}")
    for state, number in found.builds.items():
        click.echo(f"builds {state} {number}")
    for table, number in found.rows.items():
        click.echo(f"rows {table} {number}")
    for key, number in found.keys.items():
        click.echo(f"sealed with {key} {number}")
    for problem in found.problems:
        click.echo(f"problem: {problem}")
    if found.problems:
        raise click.exceptions.Exit(exits.FAILED)
    output.note("no problem was found")


@db.command()
def key() -> None:
    """Print a new key for BUILDER_SECRET_KEY."""
    click.echo(seal.new_key())


@db.command()
@_config_option
def reseal(config_file: Path | None) -> None:
    """Seal every secret with the first key; the framework may run meanwhile.

    With BUILDER_SECRET_KEY=NEW,OLD, in every process, before OLD is left out.
    """
    storage = config.storage(os.environ, config_file)
    sealer = keys.sealer(storage)
    for table, number in seal_anew(storage.url, sealer).items():
        click.echo(f"sealed {table} {number}")
    output.note(f"everything is sealed with key {sealer.key_ids[0]}")
