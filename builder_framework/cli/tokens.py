"""`builder token`: what stands for you where your password should not be."""

from __future__ import annotations

from typing import Any

import click

from builder_framework.cli import output
from builder_framework.cli.options import server_options
from builder_framework.client import Client

_ROLES = click.Choice(["viewer", "builder", "operator", "admin"])


@click.group()
def token() -> None:
    """Make, list and revoke tokens: passwords for programs, with less power than yours."""


@token.command()
@server_options
@click.argument("name")
@click.option("--role", type=_ROLES, default="builder", show_default=True, help="No more than.")
@click.option("--project", metavar="NAME", help="In this project alone.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Until it ends.")
@click.option("--json", "as_json", is_flag=True)
def create(
    client: Client, name: str, role: str, project: str | None, days: float | None, as_json: bool
) -> None:
    """Make a token and print it; nobody can print it again."""
    body: dict[str, Any] = {"name": name, "role": role, "project": project}
    made = client.create_token({**body, "expires_in_days": days})
    if as_json:
        output.show_json(made)
    else:
        click.echo(made["token"])
        output.note(f"{made['id']} is {made['role']}, as password of {made['owner']} or as bearer")


@token.command(name="list")
@server_options
@click.option("--json", "as_json", is_flag=True)
def list_tokens(client: Client, as_json: bool) -> None:
    """List your tokens; an admin's are everybody's."""
    found = client.tokens()
    if as_json:
        output.show_json(found)
        return
    head = ("ID", "OWNER", "NAME", "ROLE", "PROJECT", "EXPIRES", "LAST USED")
    rows = (
        (
            each["id"],
            each["owner"],
            each["name"],
            each["role"],
            each["project"] or "-",
            each["expires_at"] or "-",
            each["last_used_at"] or "-",
        )
        for each in found
    )
    output.table(head, rows)


@token.command()
@server_options
@click.argument("token_id", metavar="ID")
def revoke(client: Client, token_id: str) -> None:
    """End a token; whoever uses it is out at once."""
    client.revoke_token(token_id)
    output.note(f"{token_id} opens nothing any more")
