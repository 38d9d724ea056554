"""`builder context`: servers by name."""

from __future__ import annotations

import shlex
from dataclasses import replace

import click

from builder_framework.cli import contexts, options, output
from builder_framework.cli.contexts import Context


@click.group()
def context() -> None:
    """Keep servers by name, with where their passwords are.

    \b
    builder context add work --url https://builder.example.org \\
        --username ann --password-command "pass show builder"
    builder context use work

    They are in ~/.config/builder/config.toml. Flags and BUILDER_URL go before the current context,
    BUILDER_CONTEXT chooses another one for a while.
    """


@context.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="A JSON list.")
def list_contexts(as_json: bool) -> None:
    """List the contexts; * is the current one."""
    known = contexts.load()
    rows = [
        ("*" if name == known.current else "", name, each.url, each.username or "")
        for name, each in known.contexts.items()
    ]
    if as_json:
        output.show_json(
            [
                {"name": name, "current": bool(star), "url": url, "username": user or None}
                for star, name, url, user in rows
            ]
        )
    else:
        output.table(("", "NAME", "URL", "USER"), rows)


@context.command()
@click.argument("name")
def use(name: str) -> None:
    """Make a context the current one."""
    known = contexts.load()
    known.chosen(name)
    contexts.save(replace(known, current=name))
    output.note(f"{name} is used from now on")


@context.command()
@click.argument("name")
@click.option("--url", required=True, metavar="URL", help="The server.")
@click.option("--username", metavar="NAME", help="Who you are there; not needed with a token.")
@click.option("--password-command", metavar="COMMAND", help="Prints the password.")
@click.option("--password-file", metavar="FILE", help="Holds it; mode 0600.")
@click.option("--password-stdin", is_flag=True, help="Read it now, and keep it in a file.")
@click.option("--token-command", metavar="COMMAND", help="Prints a token.")
@click.option("--token-file", metavar="FILE", help="Holds a token; mode 0600.")
@click.option("--token-stdin", is_flag=True, help="Read a token now, and keep it in a file.")
def add(
    name: str,
    url: str,
    username: str | None,
    password_command: str | None,
    password_file: str | None,
    password_stdin: bool,
    token_command: str | None,
    token_file: str | None,
    token_stdin: bool,
) -> None:
    """Add a context, or change it; the first one is the current one.

    Without one of the flags for passwords and tokens, BUILDER_PASSWORD or BUILDER_TOKEN is used.
    """
    contexts.check_name(name)
    ways = (
        password_command,
        password_file,
        password_stdin,
        token_command,
        token_file,
        token_stdin,
    )
    if sum(bool(way) for way in ways) > 1:
        raise click.UsageError("give one of the flags for passwords and tokens")
    if password_stdin:
        password_file = _kept(name, "--password-stdin")
    if token_stdin:
        token_file = _kept(name, "--token-stdin")
    made = Context(
        url.rstrip("/"),
        username,
        _words(password_command),
        password_file,
        _words(token_command),
        token_file,
    )
    known = contexts.load()
    everything = {**known.contexts, name: made}
    contexts.save(replace(known, current=known.current or name, contexts=everything))
    output.note(f"{name} is {made.url}")


@context.command()
@click.argument("name")
def remove(name: str) -> None:
    """Forget a context, and the password that was kept for it."""
    known = contexts.load()
    known.chosen(name)
    left = {each: context for each, context in known.contexts.items() if each != name}
    contexts.save(
        replace(known, current=None if known.current == name else known.current, contexts=left)
    )
    (contexts.folder() / f"{name}.secret").unlink(missing_ok=True)
    output.note(f"{name} is forgotten")


def _words(command: str | None) -> tuple[str, ...] | None:
    try:
        return None if command is None else tuple(shlex.split(command))
    except ValueError as error:
        raise click.UsageError(f"the command cannot be split into words: {error}") from None


def _kept(name: str, option: str) -> str:
    path = contexts.folder() / f"{name}.secret"
    contexts.write(path, options.stdin().read(option))
    return str(path)
