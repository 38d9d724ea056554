"""`builder watch`: a build, or the newest ones, as they change."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

import click

from builder_framework import answers
from builder_framework.cli import exits, options, output
from builder_framework.cli.options import server_options
from builder_framework.cli.progress import Progress, plain
from builder_framework.cli.terminal import one_line
from builder_framework.client import Client, Follower

SECONDS = 2.0
"""Between two looks at a list."""


@click.command()
@server_options
@click.argument("build_id", metavar="[ID]", required=False, type=options.BuildId())
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each change.")
def watch(client: Client, build_id: str | None, limit: int, as_json: bool) -> None:
    """Watch a build until it is over, or without ID the newest builds until Ctrl-C.

    On a terminal one line shows the phase, its time and the last line of the log; elsewhere there
    is a line for each change. The exit code is the build's result. `builder logs -f` shows the
    whole log instead.
    """
    if build_id is not None:
        until_over(client, build_id, as_json=as_json)
    try:
        _watch_all(client, limit, as_json=as_json)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(exits.DETACHED) from None


def until_over(
    client: Client, build_id: str, *, as_json: bool = False, attend: bool = False
) -> NoReturn:
    """Show a build's progress, then exit with its result."""
    show = Follower(client, build_id, lambda _: None, output.note, attend=attend)
    try:
        if as_json:
            show.tell = lambda state: _say("state", state)
            end = show.run()
            _say("end", end)
        else:
            end = _on_a_terminal(show) if sys.stdout.isatty() else _in_lines(show)
            output.end_note(build_id, end)
    except KeyboardInterrupt:
        output.note(f"detached; the build goes on: builder watch {build_id}")
        raise click.exceptions.Exit(exits.DETACHED) from None
    raise click.exceptions.Exit(exits.OF_STATE.get(end["state"], exits.SERVER))


def _say(event: str, data: object) -> None:
    click.echo(json.dumps({"event": event, "data": data}))


def _in_lines(show: Follower) -> answers.EndEvent:
    show.tell = lambda state: click.echo(one_line(plain(state)))
    return show.run()


def _on_a_terminal(show: Follower) -> answers.EndEvent:
    """The last line of the terminal shows the build; phases that are over stay above it."""
    # Imported late: it takes longer than everything else here.
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console, progress = Console(stderr=True, highlight=False), Progress()

    def told(state: answers.StateEvent) -> None:
        if (over := progress.tell(state)) is not None:
            console.print(Text(over, style="dim"))

    with Live(
        get_renderable=lambda: Text(progress.line(console.width - 1)),
        console=console,
        refresh_per_second=4,
        transient=True,
    ):
        show.write, show.tell = progress.write, told
        show.note = lambda words: console.print(Text(one_line(words), style="dim"))
        return show.run()


def _watch_all(client: Client, limit: int, *, as_json: bool) -> None:
    if sys.stdout.isatty() and not as_json:
        _show_all(client, limit)
        return
    for build in _changes(client, limit):
        if as_json:
            click.echo(json.dumps(build))
        else:
            click.echo("\t".join(one_line(cell) for cell in output.build_row(build)))


def _changes(client: Client, limit: int) -> Iterator[answers.Build]:
    """Each of the newest builds, and again whenever its state, phase or place has changed."""
    seen: dict[str, list[str]] = {}
    while True:
        for build in reversed(list(client.list(limit=limit))):
            row = output.build_row(build)
            if seen.get(build["id"]) != row:
                seen[build["id"]] = row
                yield build
        time.sleep(SECONDS)


def _show_all(client: Client, limit: int) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    console = Console()
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            rows = map(output.build_row, client.list(limit=limit))
            with contextlib.suppress(BrokenPipeError):
                live.update(output.grid(output.BUILD_HEAD, rows), refresh=True)
            time.sleep(SECONDS)
