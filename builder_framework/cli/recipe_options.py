"""Flags of `builder submit` about the Dockerfile, the image and caches, named as Docker's are."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from builder_framework.cli import options
from builder_framework.cli.output import Json


def secret(text: str) -> tuple[str, str]:
    """`id=ID,src=FILE` or `id=ID,env=NAME`: the id and the value."""
    told = dict(part.partition("=")[::2] for part in text.split(","))
    if "id" not in told or told.keys() not in ({"id", "src"}, {"id", "env"}):
        raise click.BadParameter("is not id=ID,src=FILE or id=ID,env=NAME")
    if "src" in told:
        return told["id"], options.file_text("--secret", told["src"])
    if told["env"] not in os.environ:
        raise click.BadParameter(f"the variable {told['env']} is not set")
    return told["id"], os.environ[told["env"]]


def key(text: str) -> tuple[str, str]:
    """`ID=FILE`, or a file alone for the id `default`: the id and the key."""
    name, equals, file = text.partition("=")
    name, file = (name, file) if equals else ("default", text)
    return name, options.file_text("--ssh", file)


def host(text: str) -> tuple[str, str]:
    """`NAME:IP`; the address may have colons."""
    name, colon, address = text.partition(":")
    if not name or not colon or not address:
        raise click.BadParameter("is not NAME:IP")
    return name, address


def notification(text: str) -> Json:
    """`TARGET` or `TARGET=CHANNEL`."""
    target, _, channel = text.partition("=")
    return {"target": target, "channel": channel} if channel else {"target": target}


_MAPPINGS = {
    "secrets": click.option(
        "--secret",
        "secrets",
        multiple=True,
        type=secret,
        metavar="id=ID,src=FILE|env=NAME",
        help="For RUN --mount=type=secret; repeatable.",
    ),
    "project_secrets": click.option(
        "--project-secret",
        "project_secrets",
        multiple=True,
        type=options.pair,
        metavar="ID=NAME",
        help="The project's secret NAME for RUN --mount=type=secret,id=ID; repeatable.",
    ),
    "ssh": click.option(
        "--ssh",
        "ssh",
        multiple=True,
        type=key,
        metavar="[ID=]FILE",
        help="Private key for RUN --mount=type=ssh; repeatable.",
    ),
    "add_hosts": click.option(
        "--add-host", "add_hosts", multiple=True, type=host, metavar="NAME:IP"
    ),
    "image_labels": click.option(
        "--image-label", "image_labels", multiple=True, type=options.pair, metavar="K=V"
    ),
    "annotations": click.option(
        "--annotation", "annotations", multiple=True, type=options.pair, metavar="K=V"
    ),
}
"""Repeatable flags whose values make an object."""

_LISTS = {
    "platforms": click.option(
        "--platform", "platforms", multiple=True, metavar="OS/ARCH", help="Repeatable."
    ),
    "cache_from": click.option("--cache-from", "cache_from", multiple=True, metavar="IMAGE"),
    "notify": click.option(
        "--notify",
        "notify",
        multiple=True,
        type=notification,
        metavar="TARGET[=CHANNEL]",
        help="A chat or forge of the operator is told of it; repeatable.",
    ),
}

_SWITCHES = {
    "no_cache": click.option("--no-cache", is_flag=True, help="Run every step again."),
    "pull": click.option("--pull", is_flag=True, help="Ask for newer base images."),
    "sbom": click.option("--sbom", is_flag=True, help="List the packages beside the image."),
    "registry_cache": click.option(
        "--registry-cache", is_flag=True, help="Keep the cache beside the image, too."
    ),
    "exclusive": click.option("--exclusive", is_flag=True, help="An executor of its own."),
    "hooks": click.option("--hooks", is_flag=True, help="Run the repository's hooks/."),
    "tests": click.option("--tests", is_flag=True, help="Run its *.test.yml."),
}

_VALUES = {
    "shm_size": click.option("--shm-size", type=int, metavar="MIB"),
    "network": click.option("--network", metavar="default|none|host", help="Of RUN."),
    "timestamp": click.option("--timestamp", metavar="source|zero|SECONDS"),
    "provenance": click.option("--provenance", metavar="none|min|max"),
    "cache_to": click.option("--cache-to", metavar="IMAGE"),
    "supersede": click.option(
        "--supersede", metavar="queued|running", help="Older builds of the group end."
    ),
    "engine": click.option("--engine", metavar="nested|rootless|socket"),
    "cache": click.option("--cache", metavar="shared|none", help="none: cold, leaves nothing."),
    "attended": click.option(
        "--attended",
        type=float,
        metavar="SECONDS",
        help="With --follow: the build ends if this ends, however it ends.",
    ),
    "project": click.option("--project", metavar="NAME"),
    "executor_network": click.option("--executor-network", metavar="NAME"),
    "dedupe": click.option(
        "--dedupe", metavar="running|finished", help="Another build of the same may do."
    ),
    "group": click.option("--group", metavar="NAME"),
}

_DEPLOY = (
    click.option(
        "--deploy",
        "deploy_app",
        metavar="/APP",
        help="Afterwards give the image to this app of Marathon.",
    ),
    click.option(
        "--deploy-timeout",
        type=options.duration,
        metavar="10m",
        help="Until a deployment that is not over is rolled back.",
    ),
)

_NO_LABELS = click.option(
    "--no-standard-labels", is_flag=True, help="Only the labels that are asked for."
)


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add all of them."""
    every = [_MAPPINGS, _LISTS, _SWITCHES, _VALUES]
    for option in reversed(
        [_NO_LABELS, *_DEPLOY, *(one for group in every for one in group.values())]
    ):
        command = option(command)
    return command


def apply(body: Json, flags: dict[str, Any], section: Callable[[Json, str], Json]) -> None:
    """Put those that were given over what the body says."""
    for name in _MAPPINGS:
        if flags[name]:
            section(body, name).update(flags[name])
    body.update({name: list(flags[name]) for name in _LISTS if flags[name]})
    body.update({name: True for name in _SWITCHES if flags[name]})
    body.update({name: flags[name] for name in _VALUES if flags[name] is not None})
    marathon = {"app": flags["deploy_app"], "timeout": flags["deploy_timeout"]}
    if told := {name: value for name, value in marathon.items() if value is not None}:
        section(section(body, "deploy"), "marathon").update(told)
    if flags["no_standard_labels"]:
        body["standard_labels"] = False
