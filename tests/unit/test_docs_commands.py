"""What the pages tell people to type is there: commands, flags, make targets and routes.

Nothing is executed here; what the commands do is shown by the tests of each of them.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from flask import Flask
from werkzeug.exceptions import HTTPException

from api import schemas
from builder_framework.cli.commands import cli as main
from builder_framework.ports import Permission, RequestPolicy

pytest_plugins = ("tests.unit.conftest_api",)

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
Typed = tuple[str, str]


def lines(page: Path) -> Iterator[str]:
    """Indented or fenced lines, those that end in a backslash joined with the next."""
    joined, fenced = "", False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.strip().startswith("```"):
            fenced = not fenced
            continue
        if not (fenced or line.startswith("    ") or joined):
            continue
        joined += line.strip()
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        yield joined
        joined = ""


def typed(word: str) -> list[Typed]:
    """(page, rest of the line) of everything that begins with a program's name."""
    program = re.compile(rf"(?:\S+=\S+ )*(?:\S*/)?{word} (?P<rest>.+)")
    found = [
        (page.name, match["rest"])
        for page in PAGES
        for line in lines(page)
        if (match := program.match(line))
    ]
    assert found
    return found


@pytest.mark.parametrize(("page", "rest"), typed("builder"))
def test_commands_and_their_flags_are_there(page: str, rest: str) -> None:
    words = shlex.split(re.split(r" [<>|&]+ ?|;", rest)[0], comments=True)
    command: click.Command = main
    context = click.Context(main, info_name="builder")
    while isinstance(command, click.Group):
        name, known, words = command.resolve_command(context, words)
        assert known is not None, f"{page}: there is no command {name}"
        command, context = known, click.Context(known, parent=context, info_name=name)
    parser = command.make_parser(context)
    parser.parse_args(args=list(words))  # an unknown flag raises


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_make_has_what_the_pages_name() -> None:
    named = {rest.split()[0] for _, rest in typed("make")}
    for page in PAGES:
        named |= set(re.findall(r"`make\s([a-z-]+)", page.read_text(encoding="utf-8")))
    assert named >= {"up", "test", "chaos", "docs"}
    assert named - targets() == set()


@pytest.mark.parametrize(("page", "rest"), typed("curl"))
def test_curl_asks_for_what_is_served(page: str, rest: str, app: Flask) -> None:
    path = re.search(r"\$\{?BUILDER_URL\}?(/[^\s\"?']*)", rest)
    if path is None:
        assert "marathon" in rest, f"{page}: whose is {rest}?"
        return
    said = re.search(r"-X (\w+)", rest)
    method = said[1] if said else "POST" if re.search(r" -d | --data", rest) else "GET"
    known = re.sub(r"\$\{?\w+\}?", "x", path[1])
    if known.startswith("/api/v1/task"):
        return  # Eremetic's, served where it is switched on
    try:
        app.url_map.bind("localhost").match(known, method)
    except HTTPException as refusal:
        raise AssertionError(f"{page}: {method} {known}: {refusal}") from None


POLICY = RequestPolicy(
    git_protocols=("https", "ssh", "http"),
    repository_programs=Permission.REQUEST,
    webhook_hosts=("*.example.org",),
    uploads=True,
)


def value(variable: re.Match[str]) -> str:
    """What a shell would put there."""
    known = {"$GIT_URL": "http://git.example.org", "$REGISTRY": "registry.example.org:5000"}
    return known.get(variable[1], "x")


def bodies() -> list[Typed]:
    """JSON bodies of builds that pages show whole."""
    shown = re.compile(r"/api/v1/builds\"[^\n]*(?:\n[^\n]*)?-d '(\{.*?\})'", re.DOTALL)
    quoted = re.compile(r"'\"(\$\w+)\"'")
    found = [
        (page.name, body)
        for page in PAGES
        for body in shown.findall(quoted.sub(value, page.read_text(encoding="utf-8")))
    ]
    assert found
    return found


@pytest.mark.parametrize(("page", "body"), bodies())
def test_a_body_that_is_shown_is_accepted(page: str, body: str) -> None:
    assert schemas.parse_build(json.loads(body), POLICY).images, page
