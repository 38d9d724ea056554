"""The commands that look after builds, and how errors become exit codes."""

from __future__ import annotations

import importlib
from typing import Any, NoReturn

import click

from builder_framework import __version__
from builder_framework.cli import contexts, exits, output
from builder_framework.cli.options import build_argument, server_options
from builder_framework.cli.terminal import one_line
from builder_framework.client import Client, Follower
from builder_framework.errors import BuilderError

# Command -> module: loaded when asked for.
_LAZY = {
    "audit": "builder_framework.cli.operators",
    "agents": "builder_framework.cli.cluster",
    "completion": "builder_framework.cli.completion",
    "context": "builder_framework.cli.context_commands",
    "db": "builder_framework.cli.db",
    "drain": "builder_framework.cli.operators",
    "pause": "builder_framework.cli.operators",
    "project": "builder_framework.cli.projects",
    "resume": "builder_framework.cli.operators",
    "queue": "builder_framework.cli.cluster",
    "submit": "builder_framework.cli.submit",
    "token": "builder_framework.cli.tokens",
    "users": "builder_framework.cli.users",
    "watch": "builder_framework.cli.watch",
}


class BuilderGroup(click.Group):
    """Loads some commands late, and turns this project's errors into a message and a code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_LAZY})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _LAZY:
            command = getattr(importlib.import_module(_LAZY[cmd_name]), cmd_name)
            return command if isinstance(command, click.Command) else None
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BuilderError as error:
            output.show_error(error)
            raise click.exceptions.Exit(exits.of_error(error)) from None


@click.group(cls=BuilderGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Build images on Mesos: from a git URL to a digest in the registry.

    \b
    builder submit https://git.example.org/app.git --image registry.example.org/app:1 --follow
    builder submit . --image registry.example.org/app:try --watch
    builder list --state FAILED
    builder logs ID -f

    Server and credentials come from --url, --username and --password-file, or from BUILDER_URL,
    BUILDER_USERNAME and BUILDER_PASSWORD (or BUILDER_TOKEN), or from the current context
    (`builder context`).

    \b
    Exit codes:
      0    done; when following or watching: the build succeeded
      1    the build failed
      2    wrong usage, or the server refused fields of the request
      3    the build was cancelled
      4    the server cannot be reached, refused the login, or failed
      5    no such build, or not possible in its state
      130  detached by Ctrl-C; the build goes on
    """


@cli.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Run the framework: scheduler and HTTP API."""
    # `builder serve` does not come by here: main() hands over before click is imported. This is
    # its line in the help, and what callers of `cli` itself get.
    run = importlib.import_module("builder_framework.cli.serve").serve
    raise click.exceptions.Exit(run(arguments))


@cli.command()
@server_options
@build_argument
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until the build is over.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Begin at this byte.")
@click.option("--raw", is_flag=True, help="Terminal escapes as they are: only for logs you trust.")
def logs(client: Client, build_id: str, following: bool, offset: int, raw: bool) -> None:
    """Print a build's log. With -f the exit code is the build's result."""
    if following:
        follow(client, build_id, raw=raw, offset=offset)
    writer = output.LogWriter(raw=raw)
    while True:
        piece = client.log(build_id, offset)
        writer.write(piece.text)
        if piece.complete or piece.next_offset == offset:
            break
        offset = piece.next_offset
    writer.finish()


@cli.command(name="list")
@server_options
@click.option("--state", "states", multiple=True, help="Only these states; may be repeated.")
@click.option("--image", help="Only builds of this image.")
@click.option("--git-url", help="Only builds of this repository.")
@click.option("--owner", help="Only this user's builds.")
@click.option("--project", help="Only builds of this project.")
@click.option("--label", metavar="KEY=VALUE", help="Only builds with this label.")
@click.option(
    "--search",
    metavar="WORDS",
    help="Only builds with words that begin so: in source, images, labels, commit, …",
)
@click.option("--limit", type=click.IntRange(1, 10000), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="A JSON list.")
def list_builds(
    client: Client,
    states: tuple[str, ...],
    image: str | None,
    git_url: str | None,
    owner: str | None,
    project: str | None,
    label: str | None,
    search: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List builds, newest first."""
    filters = {
        "state": ",".join(states) or None,
        "image": image,
        "git_url": git_url,
        "owner": owner,
        "project": project,
        "q": search,
        "label": None if label is None else label.replace("=", ":", 1),
    }
    found = list(client.list({k: v for k, v in filters.items() if v is not None}, limit))
    if as_json:
        output.show_json(found)
    else:
        output.table(output.BUILD_HEAD, map(output.build_row, found))


@cli.command()
@server_options
@build_argument
@click.option("--json", "as_json", is_flag=True, help="As the API gives it.")
def show(client: Client, build_id: str, as_json: bool) -> None:
    """Show one build: its state, why it waits or failed, attempts, result."""
    build = client.get(build_id)
    if as_json:
        output.show_json(build)
    else:
        output.show_build(build)


@cli.command()
@server_options
@build_argument
@click.option("--json", "as_json", is_flag=True, help="Print the build as the API gives it.")
def cancel(client: Client, build_id: str, as_json: bool) -> None:
    """Cancel a build that waits or runs."""
    build = client.cancel(build_id)
    if as_json:
        output.show_json(build)
    else:
        output.note(f"{build_id} {build['state']}")


@cli.command()
@server_options
@build_argument
@click.option("--follow", "following", is_flag=True, help="Print the log; exit with the result.")
@click.option("--json", "as_json", is_flag=True, help="Print the build as the API gives it.")
def rebuild(client: Client, build_id: str, following: bool, as_json: bool) -> None:
    """Submit the request of a build once more, with its secrets. Prints the new build's id.

    For builds of one's own, or operators. A directory that was sent is gone: submit it again.
    """
    if as_json and following:
        raise click.UsageError("--json and --follow both want standard output; give one of them")
    build = client.rebuild(build_id)
    if as_json:
        output.show_json(build)
    elif following:
        output.note(f"build {build['id']}")
        follow(client, build["id"], raw=False)
    else:
        click.echo(one_line(build["id"]))


@cli.command()
@server_options
@build_argument
@click.option("--redeliver", metavar="DELIVERY", help="Send this one again.")
@click.option("--json", "as_json", is_flag=True, help="As the API gives it.")
def deliveries(client: Client, build_id: str, redeliver: str | None, as_json: bool) -> None:
    """List a build's webhooks, or send one again."""
    if redeliver is not None:
        client.redeliver(build_id, redeliver)
    found = client.deliveries(build_id)
    if as_json:
        output.show_json(found)
    else:
        output.table(output.DELIVERY_HEAD, map(output.delivery_row, found))


@cli.command()
@click.option("--server", is_flag=True, help="Ask the server for its version, too.")
@click.option("--url", envvar="BUILDER_URL", metavar="URL", help="[env: BUILDER_URL]")
@click.option("--json", "as_json", is_flag=True, help="As an object.")
def version(server: bool, url: str | None, as_json: bool) -> None:
    """Print the version of this command."""
    told = {"builder": __version__}
    if server:
        context = None if url else contexts.load().chosen()
        url = url or (context.url if context else None)
        if not url:
            raise click.UsageError("missing: the server (--url or BUILDER_URL)")
        told["server"] = Client(url, waits=()).version()["version"]
    if as_json:
        output.show_json(told)
    else:
        for name, number in told.items():
            click.echo(f"{name} {one_line(number)}")


def follow(
    client: Client, build_id: str, *, raw: bool, offset: int = 0, attend: bool = False
) -> NoReturn:
    """Print the log until the build is over, then exit with its result."""
    writer = output.LogWriter(raw=raw)
    follower = Follower(client, build_id, writer.write, output.note, offset, attend)
    try:
        end = follower.run()
    except KeyboardInterrupt:
        writer.finish()
        output.note("detached; the build goes on")
        output.note(f"go on watching: builder logs {build_id} -f --offset {follower.offset}")
        output.note(f"end it:         builder cancel {build_id}")
        raise click.exceptions.Exit(exits.DETACHED) from None
    except BuilderError:
        writer.finish()
        output.note(f"go on watching: builder logs {build_id} -f --offset {follower.offset}")
        raise
    writer.finish()
    output.end_note(build_id, end)
    raise click.exceptions.Exit(exits.OF_STATE.get(str(end.get("state")), exits.SERVER))


@cli.command()
@server_options
@click.option("--json", "as_json", is_flag=True)
def whoami(client: Client, as_json: bool) -> None:
    """Print who you are to the server, and what you may do where."""
    found = client.whoami()
    if as_json:
        output.show_json(found)
        return
    everywhere = [("everywhere", found["role"])]
    click.echo(one_line(found["name"]))
    output.table(("WHERE", "ROLE"), [*everywhere, *found["projects"].items()])
