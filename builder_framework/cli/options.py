"""Options that several commands share, and the values they parse."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from builder_framework.cli import contexts
from builder_framework.client import Client
from builder_framework.errors import BuilderError
from builder_framework.redact import Secret

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", re.ASCII)

COMPLETED = 30
"""Builds among whose ids a shell completes."""


def duration(text: str) -> float:
    """`90`, `90s`, `30m`, `1h30m`, `2d` -> seconds."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise click.BadParameter("is not a duration like 90s, 30m or 1h30m")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def pair(text: str) -> tuple[str, str]:
    """`KEY=VALUE`; the value may be empty or have more `=`."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.BadParameter("is not KEY=VALUE")
    return key, value


def constraint(text: str) -> list[str]:
    """`ATTRIBUTE:OPERATOR:VALUE`; the value may have more colons."""
    parts = text.split(":", 2)
    if len(parts) != 3:
        raise click.BadParameter("is not ATTRIBUTE:OPERATOR:VALUE, like rack:LIKE:a|b")
    attribute, operator, value = parts
    return [attribute, operator.upper(), value]


class Stdin:
    """Standard input holds one secret at most; a second reader gets a usage error."""

    def __init__(self) -> None:
        self._used_by: str | None = None

    def read(self, option: str) -> str:
        """All of it, without the newline that ends it."""
        if self._used_by is not None:
            raise click.UsageError(f"{option} and {self._used_by} cannot both read standard input")
        self._used_by = option
        # Bytes, because a password is UTF-8 whatever the locale says.
        return _text(sys.stdin.buffer.read(), option)


def _text(raw: bytes, option: str) -> str:
    """UTF-8 without the line end that editors and `echo` add."""
    try:
        return raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise click.UsageError(f"{option}: not UTF-8 text") from None


def stdin() -> Stdin:
    """The reader of this run of the command."""
    found: Stdin = click.get_current_context().ensure_object(Stdin)
    return found


def secret(
    what: str, *, from_stdin: bool, env_name: str | None, default_env: str
) -> tuple[Secret | None, bool]:
    """A secret that never stands in the argument list, where every user of the machine sees it.

    `what`: the option's stem, `git` or `registry`. Returns it and whether a flag asked for it.
    """
    if from_stdin and env_name:
        raise click.UsageError(
            f"give one of --{what}-password-stdin and --{what}-password-env, not both"
        )
    if from_stdin:
        return Secret(stdin().read(f"--{what}-password-stdin")), True
    if env_name:
        if env_name not in os.environ:
            raise click.UsageError(f"--{what}-password-env: {env_name} is not set")
        return Secret(os.environ[env_name]), True
    value = os.environ.get(default_env)
    return (Secret(value) if value else None), False


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --url, --username and --password-file; the command gets a `client`."""

    @click.option(
        "--url", envvar="BUILDER_URL", metavar="URL", help="The server.  [env: BUILDER_URL]"
    )
    @click.option(
        "--username", envvar="BUILDER_USERNAME", metavar="NAME", help="[env: BUILDER_USERNAME]"
    )
    @click.option(
        "--password-file",
        metavar="FILE",
        help="Read the password from FILE, '-' is standard input.  [env: BUILDER_PASSWORD]",
    )
    @functools.wraps(command)
    def with_client(
        *, url: str | None, username: str | None, password_file: str | None, **arguments: Any
    ) -> Any:
        return command(client=_client(url, username, password_file), **arguments)

    return with_client


def _client(url: str | None, username: str | None, password_file: str | None) -> Client:
    if url:
        return _told(url, username, password_file)
    context = contexts.load().chosen()
    if context is None:
        return _told(None, username, password_file)
    given = username or password_file or os.environ.get("BUILDER_PASSWORD")
    if given or os.environ.get("BUILDER_TOKEN"):
        return _told(context.url, username or context.username, password_file)
    token, password = context.token(), context.password()
    if token is not None:
        return Client(context.url, token=token, waits=())
    if password is None or context.username is None:
        raise click.UsageError(
            "the context has no password: builder context add, BUILDER_PASSWORD or BUILDER_TOKEN"
        )
    return Client(context.url, context.username, password, waits=())


def _told(url: str | None, username: str | None, password_file: str | None) -> Client:
    """By flags and environment alone: another server must not get a context's password."""
    token = os.environ.get("BUILDER_TOKEN")
    if url and token and not password_file:
        return Client(url, token=Secret(token), waits=())
    missing = [
        text
        for text, value in (
            ("the server (--url, BUILDER_URL or `builder context add`)", url),
            ("the user (--username or BUILDER_USERNAME)", username),
        )
        if not value
    ]
    password = _password(password_file)
    if not password:
        missing.append("the password (BUILDER_PASSWORD, --password-file) or BUILDER_TOKEN")
    if missing or not url or not username or not password:
        raise click.UsageError(f"missing: {', '.join(missing)}")
    return Client(url, username, Secret(password), waits=())


class BuildId(click.ParamType[str]):
    """A build's id, which shells complete from the newest builds."""

    name = "id"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """None when there is no server to ask: a shell is no place for errors."""
        del param
        given = ctx.params.get
        try:
            client = _client(
                given("url") or os.environ.get("BUILDER_URL"),
                given("username") or os.environ.get("BUILDER_USERNAME"),
                given("password_file"),
            )
            found = list(client.list(limit=COMPLETED))
        except (click.ClickException, BuilderError):
            return []
        return [
            CompletionItem(build["id"], help=f"{build['state']} {', '.join(build['images'])}")
            for build in found
            if build["id"].startswith(incomplete)
        ]


build_argument = click.argument("build_id", metavar="ID", type=BuildId())


def file_text(option: str, file: str) -> str:
    """A file's text, `-` is standard input, without the line end at its end."""
    if file == "-":
        return stdin().read(f"{option} -")
    try:
        return _text(Path(file).read_bytes(), option)
    except OSError as error:
        raise click.UsageError(f"{option}: {error.strerror}") from None


def _password(file: str | None) -> str | None:
    if file is None:
        return os.environ.get("BUILDER_PASSWORD")
    return file_text("--password-file", file)


def colour() -> bool:
    """Whether standard output is a terminal that is to show colours (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
