"""`builder pause`, `resume`, `drain` and `audit`: for operators."""

from __future__ import annotations

import time
from typing import Any

import click

from builder_framework.cli import exits, output
from builder_framework.cli.client import Client, quoted
from builder_framework.cli.options import server_options

_POLL = 2.0


def _turn(client: Client, verb: str, *, as_json: bool) -> dict[str, Any]:
    now = client.post(f"scheduler/{verb}")
    if as_json:
        output.show_json(now)
    else:
        output.note(_sentence(now))
    return now


def _sentence(now: dict[str, Any]) -> str:
    return f"{now['state']}; {now['on_agents']} builds are on agents"


@click.command()
@server_options
@click.option("--json", "as_json", is_flag=True)
def pause(client: Client, as_json: bool) -> None:
    """Start no more builds. Those that run go on, requests are accepted and wait."""
    _turn(client, "pause", as_json=as_json)


@click.command()
@server_options
@click.option("--json", "as_json", is_flag=True)
def resume(client: Client, as_json: bool) -> None:
    """Start builds again."""
    _turn(client, "resume", as_json=as_json)


@click.command()
@server_options
@click.option("--wait", "waits", is_flag=True, help="Return when nothing runs any more.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait at most.")
@click.option("--json", "as_json", is_flag=True)
def drain(client: Client, waits: bool, timeout: float | None, as_json: bool) -> None:
    """Start no more builds, and tell when the last one is over. `resume` ends it."""
    now = _turn(client, "drain", as_json=as_json and not waits)
    if not waits:
        return
    deadline = None if timeout is None else time.monotonic() + timeout
    told = now["on_agents"]
    while now["state"] == "draining":
        if deadline is not None and time.monotonic() > deadline:
            output.note(f"not drained in time: {_sentence(now)}")
            raise click.exceptions.Exit(exits.REFUSED)
        time.sleep(_POLL)
        now = client.fetch("scheduler")
        if now["on_agents"] != told:
            told = now["on_agents"]
            output.note(_sentence(now))
    if as_json:
        output.show_json(now)
    if now["state"] != "drained":
        output.note(f"somebody else has changed it: {now['state']}")
        raise click.exceptions.Exit(exits.REFUSED)


@click.command()
@server_options
@click.option("--user", help="Only what this user did.")
@click.option("--action", help="Only this action, for example build.cancel.")
@click.option("--subject", help="Only what was about this build, project or token.")
@click.option("--limit", type=click.IntRange(1, 10000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def audit(
    client: Client,
    user: str | None,
    action: str | None,
    subject: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Print who did what and from where, the newest first."""
    wanted = {"user": user, "action": action, "subject": subject}
    given = "&".join(f"{name}={quoted(value)}" for name, value in wanted.items() if value)
    found: list[dict[str, Any]] = []
    before = ""
    while len(found) < limit:
        size = min(200, limit - len(found))
        page = client.fetch(f"audit?limit={size}&{given}{before}")
        found += page["entries"]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    if as_json:
        output.show_json(found)
        return
    names = ("at", "user", "action", "subject", "status", "address", "request_id")
    head = tuple(name.upper().replace("_", " ") for name in names)
    output.table(head, [tuple(str(each[name] or "-") for name in names) for each in found])
