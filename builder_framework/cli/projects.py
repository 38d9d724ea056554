"""`builder project`: what belongs together, who is in it, and its credentials."""

from __future__ import annotations

import json
from typing import Any

import click

from builder_framework.cli import options, output
from builder_framework.cli.options import server_options
from builder_framework.client import Client

_ROLES = click.Choice(["viewer", "builder", "operator", "admin"])


@click.group()
def project() -> None:
    """Manage projects, their members and their credentials."""


@project.command(name="list")
@server_options
@click.option("--json", "as_json", is_flag=True)
def list_projects(client: Client, as_json: bool) -> None:
    """List the projects that you are in."""
    found = client.projects()
    if as_json:
        output.show_json(found)
        return
    rows = [(each["name"], ", ".join(each["images"]) or "-", each["description"]) for each in found]
    output.table(("NAME", "IMAGES", "DESCRIPTION"), rows)


@project.command()
@server_options
@click.argument("name")
def show(client: Client, name: str) -> None:
    """Print a project with its members, as JSON."""
    output.show_json(client.project(name))


@project.command()
@server_options
@click.argument("name")
@click.option("--file", metavar="FILE", help="JSON with all of it ('-': standard input).")
@click.option("--description", default="")
@click.option("--repository", "repositories", multiple=True, help="Beginning of a git URL.")
@click.option("--image", "images", multiple=True, help="Beginning of an image's name.")
@click.option("--app", "apps", multiple=True, help="Beginning of the id of a Marathon app.")
@click.option("--max-waiting", type=int)
@click.option("--max-running", type=int)
def put(
    client: Client,
    name: str,
    file: str | None,
    description: str,
    repositories: tuple[str, ...],
    images: tuple[str, ...],
    apps: tuple[str, ...],
    max_waiting: int | None,
    max_running: int | None,
) -> None:
    """Make a project, or make it what is said here."""
    body: dict[str, Any] = {
        "description": description,
        "repositories": list(repositories),
        "images": list(images),
        "apps": list(apps),
        "quota": {"max_waiting": max_waiting, "max_running": max_running},
    }
    if file is not None:
        body = _document(file)
    client.put_project(name, body)
    output.note(f"project {name} is as you say")


@project.command()
@server_options
@click.argument("name")
def remove(client: Client, name: str) -> None:
    """Remove a project; its builds stay in the history."""
    client.remove_project(name)
    output.note(f"project {name} is gone")


@project.command()
@server_options
@click.argument("name")
@click.argument("user")
@click.argument("role", type=_ROLES)
def member(client: Client, name: str, user: str, role: str) -> None:
    """Give a user a role in a project."""
    client.put_member(name, user, role)
    output.note(f"{user} is {role} in {name}")


@project.command(name="remove-member")
@server_options
@click.argument("name")
@click.argument("user")
def remove_member(client: Client, name: str, user: str) -> None:
    """Take a user out of a project."""
    client.remove_member(name, user)
    output.note(f"{user} is not in {name}")


@project.command()
@server_options
@click.argument("name")
@click.option("--json", "as_json", is_flag=True)
def credentials(client: Client, name: str, as_json: bool) -> None:
    """List a project's credentials, without what is secret."""
    found = client.credentials(name)
    if as_json:
        output.show_json(found)
        return
    rows = [
        (each["name"], each["kind"], each.get("registry") or each.get("host") or "-")
        for each in found
    ]
    output.table(("NAME", "KIND", "FOR"), rows)


@project.command(name="set-credential")
@server_options
@click.argument("name")
@click.argument("credential")
@click.option("--registry", metavar="HOST", help="A login for this registry.")
@click.option("--git", "git_host", metavar="HOST", help="A login for this git server.")
@click.option("--user", "login", metavar="NAME", help="Of the login.")
@click.option("--ssh-key", metavar="FILE", help="For --git: a private key.")
@click.option("--known-hosts", metavar="FILE", help="For --git over ssh.")
def set_credential(
    client: Client,
    name: str,
    credential: str,
    registry: str | None,
    git_host: str | None,
    login: str | None,
    ssh_key: str | None,
    known_hosts: str | None,
) -> None:
    """Keep a login or, without --registry and --git, a secret; its value is read from standard
    input (not for --ssh-key).
    """
    if registry is not None and git_host is not None:
        raise click.UsageError("give one of --registry and --git")
    body: dict[str, Any]
    if git_host is not None:
        body = {"git": _git(git_host, login, ssh_key, known_hosts)}
    elif registry is not None:
        body = {"registry": {"registry": registry, "username": login, "password": _value()}}
    else:
        body = {"secret": _value()}
    client.put_credential(name, credential, body)
    output.note(f"{credential} is kept for {name}")


@project.command(name="remove-credential")
@server_options
@click.argument("name")
@click.argument("credential")
def remove_credential(client: Client, name: str, credential: str) -> None:
    """Forget a credential; builds that were accepted keep it."""
    client.remove_credential(name, credential)
    output.note(f"{credential} is forgotten")


def _git(
    host: str, login: str | None, ssh_key: str | None, known_hosts: str | None
) -> dict[str, Any]:
    body: dict[str, Any] = {"host": host}
    if known_hosts is not None:
        body["known_hosts"] = options.file_text("--known-hosts", known_hosts)
    if ssh_key is not None:
        return {**body, "ssh_key": options.file_text("--ssh-key", ssh_key)}
    return {**body, "username": login, "password": _value()}


def _value() -> str:
    return options.stdin().read("standard input")


def _document(file: str) -> dict[str, Any]:
    try:
        found = json.loads(options.file_text("--file", file))
    except ValueError as error:
        raise click.UsageError(f"--file: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.UsageError("--file: not a JSON object")
    return found
