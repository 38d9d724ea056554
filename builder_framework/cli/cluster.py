"""`builder queue` and `builder agents`."""

from __future__ import annotations

import click

from builder_framework import answers
from builder_framework.cli import output
from builder_framework.cli.options import server_options
from builder_framework.client import Client

QUEUE_HEAD = ("POSITION", "ID", "PRIORITY", "OWNER", "IMAGES", "WHY")
AGENT_HEAD = ("HOST", "BUILDS", "EXECUTORS", "WARM", "FREE", "LAST OFFER", "AVOIDED", "ID")


@click.command()
@server_options
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="As the API gives it.")
def queue(client: Client, limit: int, as_json: bool) -> None:
    """List what waits, in the order in which it is placed, and why it waits."""
    page = client.queue(limit)
    if as_json:
        output.show_json(page)
        return
    output.table(QUEUE_HEAD, map(_queue_row, page["builds"]))
    if page["total"] > len(page["builds"]):
        output.note(f"the first {len(page['builds'])} of {page['total']} (--limit)")


def _queue_row(build: answers.Build) -> list[str]:
    waiting = build["queue"]
    return [
        str(waiting["position"]) if waiting else "",
        build["id"],
        str(build["priority"]),
        build["owner"],
        output.names_of(build),
        waiting["message"] if waiting else "",
    ]


@click.command()
@server_options
@click.option("--json", "as_json", is_flag=True, help="As the API gives it.")
def agents(client: Client, as_json: bool) -> None:
    """List the agents as the framework knows them: builds, executors, caches, offers, failures."""
    found = client.agents()
    if as_json:
        output.show_json(found)
        return
    output.table(AGENT_HEAD, [_agent_row(agent, found["slots"]) for agent in found["agents"]])
    if found["message"]:
        output.note(found["message"])


def _agent_row(agent: answers.Agent, slots: int | None) -> list[str]:
    offer, failures = agent["offer"], agent["failures"]
    idle = sum(executor["idle_since"] is not None for executor in agent["executors"])
    free = ""
    if offer is not None:
        resources = offer["resources"]
        free = f"{resources['cpus']:g} cpus, {resources['mem']:g} MiB"
    return [
        agent["hostname"],
        f"{len(agent['builds'])}" + ("" if slots is None else f" of {slots}"),
        f"{len(agent['executors'])} ({idle} idle)" if agent["executors"] else "",
        str(agent["warm_sources"]),
        free,
        _offer(offer),
        f"until {agent['avoided_until']}: {failures[-1]['reason']}"
        if agent["avoided_until"] and failures
        else "",
        agent["id"],
    ]


def _offer(offer: answers.Offer | None) -> str:
    if offer is None:
        return "none yet"
    why = ", ".join(f"{each['reason']} ({each['builds']})" for each in offer["refusals"])
    return f"{offer['at']} {'used' if offer['used'] else why or 'nothing waited'}"
