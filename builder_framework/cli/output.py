"""What commands print: logs, tables, one build, problems; all from outside is neutralised."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from builder_framework import answers
from builder_framework.cli.options import colour
from builder_framework.cli.terminal import Neutraliser, one_line
from builder_framework.client import ApiError
from builder_framework.errors import BuilderError, InvalidInputError

if TYPE_CHECKING:
    from rich.table import Table

Json = dict[str, Any]

_STATE_STYLES = {"SUCCEEDED": "green", "FAILED": "red", "CANCELLED": "yellow", "RUNNING": "cyan"}


class LogWriter:
    """Writes a log to standard output, for a terminal or as it is (`raw`)."""

    def __init__(self, *, raw: bool) -> None:
        self._cleaner = None if raw else Neutraliser(colour=colour())
        self._at_line_start = True

    def write(self, text: str) -> None:
        """A piece of the log, visible at once."""
        self._emit(text if self._cleaner is None else self._cleaner.feed(text))

    def finish(self) -> None:
        """Colours off, and the cursor at the start of a line."""
        if self._cleaner is not None:
            self._emit(self._cleaner.finish())
        if not self._at_line_start and sys.stdout.isatty():
            self._emit("\n")

    def _emit(self, text: str) -> None:
        if not text:
            return
        self._at_line_start = text.endswith("\n")
        # Bytes, because the log is UTF-8 whatever the locale says.
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
        sys.stdout.buffer.flush()


def note(text: str) -> None:
    """A remark beside the log, on standard error."""
    click.echo(click.style(f"· {one_line(text)}", dim=True), err=True)


def show_json(value: Any) -> None:
    """JSON in ASCII: escapes keep it harmless for a terminal and exact for a program."""
    click.echo(json.dumps(value, indent=2))


def show_error(error: BuilderError) -> None:
    """An error on standard error; faulty fields one a line."""
    problems = error.problems if isinstance(error, (ApiError, InvalidInputError)) else ()
    sentence = error.message
    if isinstance(error, InvalidInputError) and problems:
        sentence = "invalid input"
    elif isinstance(error, ApiError) and error.problem_code:
        sentence = f"{sentence} ({error.problem_code})"
    click.echo(f"builder: {one_line(sentence)}", err=True)
    for problem in problems:
        click.echo(f"  {one_line(problem.field)}: {one_line(problem.problem)}", err=True)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows in columns: with colours and folding on a terminal, tab-separated elsewhere."""
    if not sys.stdout.isatty():
        click.echo("\t".join(head))
        for row in rows:
            click.echo("\t".join(one_line(cell) for cell in row))
        return
    # Imported late: it takes longer than everything else here.
    from rich.console import Console  # noqa: PLC0415

    Console().print(grid(head, rows))


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Rows in columns, for a terminal."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in head:
        made.add_column(name, overflow="fold", no_wrap=name == "ID")
    for row in rows:
        cells = [one_line(cell) for cell in row]
        # Text, not str: square brackets in a message are not markup.
        made.add_row(*(Text(cell, style=_STATE_STYLES.get(cell, "")) for cell in cells))
    return made


def build_row(build: answers.Build) -> list[str]:
    """A build in one line of `list`."""
    detail = build["phase"] or build["reason"] or ""
    if build["queue"]:
        detail = f"position {build['queue']['position']}"
    return [
        build["id"],
        build["state"],
        detail,
        build["created_at"],
        build["owner"],
        names_of(build),
    ]


def names_of(build: answers.Build) -> str:
    """What people know a build by: its images, or the one whose program runs."""
    task = build["source"].get("task")
    return ", ".join(build["images"]) if task is None else task["image"]


BUILD_HEAD = ("ID", "STATE", "DETAIL", "CREATED", "OWNER", "IMAGES")


def delivery_row(delivery: answers.Delivery) -> list[str]:
    """A webhook in one line, with what became of its last try."""
    tries = delivery["tries"]
    return [
        delivery["id"],
        delivery["event"],
        delivery["state"],
        str(len(tries)),
        delivery["next_at"] or "",
        delivery["target"] or delivery["url"],
        (tries[-1]["error"] or "") if tries else "",
    ]


DELIVERY_HEAD = ("ID", "EVENT", "STATE", "TRIES", "NEXT", "TO", "ERROR")


def show_build(build: answers.Build) -> None:
    """Everything worth knowing of a build, one `name: value` a line."""
    for name, value in _facts(build):
        if value not in (None, ""):
            styled = (
                click.style(f"{name + ':':<12}", bold=True) if colour() else f"{name + ':':<12}"
            )
            click.echo(f"{styled} {one_line(str(value))}")


def _facts(build: answers.Build) -> Iterable[tuple[str, Any]]:
    result = build["result"]
    yield "id", build["id"]
    yield "state", f"{build['state']} {build['phase'] or ''}"
    yield "reason", build["reason"]
    yield "message", build["message"]
    yield "owner", build["owner"]
    yield "source", source_of(build["source"])
    yield "commit", result["commit"]
    for image in build["images"]:
        yield "image", image
    for pushed in result["images"]:
        yield "pushed", f"{pushed['name']}@{pushed['digest']}"
    yield "digest", result["digest"]
    yield "size", None if result["size"] is None else f"{result['size']} bytes"
    yield "layers", result["layers"]
    if steps := result["steps"]:
        yield "steps", f"{steps['total']}, {steps['cached']} of them from the cache"
    if step := result["failed_step"]:
        place = "" if step["line"] is None else f" (line {step['line']} of the Dockerfile)"
        yield "failed step", f"{step['name']}{place}"
    yield "timings", ", ".join(f"{name} {value:.1f} s" for name, value in result["timings"].items())
    if deployment := build["deployment"]:
        message = f": {deployment['message']}" if deployment["message"] else ""
        yield "deployment", f"{deployment['app']} {deployment['state']}{message}"
    yield "created", build["created_at"]
    yield "started", build["started_at"]
    yield "ended", build["ended_at"]
    if queue := build["queue"]:
        yield "queue", f"position {queue['position']}; {queue['message']}"
        for refusal in queue["refusals"]:
            yield "refused", f"{refusal['reason']} on {refusal['agents']} agents"
    for attempt in build["attempts"]:
        agent = attempt["agent"]
        text = f"{attempt['task_id']} on {agent['hostname']} at {attempt['placed_at']}"
        yield f"attempt {attempt['number']}", f"{text} {attempt['message'] or ''}"
    yield "log", f"{build['log']['size']} bytes{'' if build['log']['complete'] else ', growing'}"


def source_of(source: answers.Source) -> str:
    """Where it came from, in some words."""
    if "git" in source:
        return f"{source['git']['url']} {source['git']['ref'] or ''}"
    if "tarball" in source:
        return source["tarball"]["url"]
    if "task" in source:
        return f"a task of {source['task']['image']}"
    if "upload" in source:
        return f"{source['upload']['size']} bytes that were uploaded"
    return "a Dockerfile alone"


def end_note(build_id: str, end: answers.EndEvent, say: Callable[[str], None] = note) -> None:
    """How a followed build ended."""
    reason = f" ({end['reason']})" if end.get("reason") else ""
    message = f": {end['message']}" if end.get("message") else ""
    say(f"{build_id} {end.get('state')}{reason}{message}")
    for image in end.get("images") or ():
        say(f"{image['name']}@{image['digest']}")
