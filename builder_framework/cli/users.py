"""`builder users`: the file of users who may use the API."""

from __future__ import annotations

from pathlib import Path

import click

from builder_framework.cli import options, output
from builder_framework.domain.access import Role
from builder_framework.redact import Secret
from builder_framework.users import UserFile

_file_option = click.option(
    "--users-file",
    "path",
    envvar="BUILDER_USERS_FILE",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="[env: BUILDER_USERS_FILE]",
)


_roles = click.Choice([role.value for role in Role])


@click.group()
def users() -> None:
    """Manage the users file; a running server notices changes by itself."""


@users.command()
@_file_option
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--role", type=_roles, help="Of a new user: builder, if not given.")
def add(path: Path, name: str, password_stdin: bool, role: str | None) -> None:
    """Add a user, or change a user's password."""
    if password_stdin:
        password = options.stdin().read("--password-stdin")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    try:
        added = UserFile(path).add(name, Secret(password), Role(role) if role else None)
    except OSError as error:
        raise _unusable(error) from None
    output.note(f"{'added' if added else 'changed the password of'} {name}")


@users.command(name="role")
@_file_option
@click.argument("name")
@click.argument("role", type=_roles)
def change_role(path: Path, name: str, role: str) -> None:
    """Change what a user may do: none, viewer, builder, operator or admin."""
    try:
        UserFile(path).change_role(name, Role(role))
    except OSError as error:
        raise _unusable(error) from None
    output.note(f"{name} is {role}")


@users.command()
@_file_option
@click.argument("name")
def remove(path: Path, name: str) -> None:
    """Remove a user; requests with the old password fail at once."""
    try:
        UserFile(path).remove(name)
    except OSError as error:
        raise _unusable(error) from None
    output.note(f"removed {name}")


@users.command(name="list")
@_file_option
@click.option("--json", "as_json", is_flag=True, help="A JSON list.")
def list_users(path: Path, as_json: bool) -> None:
    """Print the users' names with their roles, one a line."""
    try:
        found = UserFile(path).list()
    except OSError as error:
        raise _unusable(error) from None
    if as_json:
        output.show_json([{"name": name, "role": role.value} for name, role in found.items()])
        return
    for name, role in found.items():
        click.echo(f"{name} {role.value}")


def _unusable(error: OSError) -> click.UsageError:
    return click.UsageError(f"--users-file: {error.strerror}")
