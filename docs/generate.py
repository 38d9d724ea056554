"""Writes the pages that follow from the code: `make docs`. A test fails when they are stale."""

from __future__ import annotations

import importlib
import inspect
import types
import typing
from pathlib import Path

from pydantic_core import PydanticUndefined

from builder_framework.config import PREFIX, Settings
from builder_framework.domain import events, machine
from builder_framework.domain.states import TERMINAL, State
from builder_framework.protocol import Phase, Reason
from builder_framework.service import measures

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "tests" / "golden"
NOTE = "<!-- Written by docs/generate.py (`make docs`); do not edit. -->\n\n"

NOTHING = "-"

STATES = {
    State.QUEUED: "Accepted and stored; waits for an offer that fits.",
    State.STAGING: "Placed on an agent; its task was sent or is about to be.",
    State.RUNNING: "The executor works; the phase tells on what.",
    State.CANCELLING: "Its task was told to stop and has not said yet that it did.",
    State.UNREACHABLE: "The master lost sight of the agent; the task may still run.",
    State.SUCCEEDED: "The image is in the registry under its digest.",
    State.FAILED: "It ended otherwise; `reason` is for programs, `message` for people.",
    State.CANCELLED: "Somebody asked for its end, and got it.",
}


def states() -> str:
    """docs/states.md: states, phases, reasons, and what each event does in each state."""
    lines = [NOTE + "# States of a build\n", "| state | meaning |", "|---|---|"]
    for state in State:
        final = " Final." if state in TERMINAL else ""
        lines.append(f"| `{state.value}` | {STATES[state]}{final} |")
    phases = ", ".join(f"`{phase.value}`" for phase in Phase)
    reasons = ", ".join(f"`{reason.value}`" for reason in Reason)
    lines += [
        f"\nPhases of `RUNNING`, in order: {phases}.",
        f"\nReasons of `FAILED` and `CANCELLED`: {reasons}.",
        "\n## Every state and event, decided",
        (
            "\nA cell names the handler in `builder_framework/domain/transitions.py`; `-` means "
            "that the event is late there and changes nothing. News of an attempt that is not the "
            "current one never gets here: a task that still runs is killed, the rest is dropped.\n"
        ),
    ]
    columns = list(State)
    lines.append("| event | " + " | ".join(f"`{state.value}`" for state in columns) + " |")
    lines.append("|---" * (len(columns) + 1) + "|")
    for event in typing.get_args(events.Event):
        cells = [machine.TABLE[state][event] for state in columns]
        names = [handler.__name__ if handler else NOTHING for handler in cells]
        lines.append(f"| `{event.__name__}` | " + " | ".join(names) + " |")
    return "\n".join(lines) + "\n"


def configuration() -> str:
    """docs/configuration.md: every setting of the framework process."""
    lines = [
        NOTE + "# Configuration\n",
        (
            "`builder serve` reads a TOML file (`--config FILE` or `BUILDER_CONFIG`), then the "
            "environment, which wins. A setting `name` of the file is `BUILDER_NAME` in the "
            "environment. Lists are written with commas in the environment. `password`, "
            "`mesos_master`, `mesos_secret`, `database_url`, `secret_key`, `webhooks`, "
            "`webhook_secret` and `marathon_login` may also come out of a file: "
            "`BUILDER_PASSWORD_FILE=/run/secrets/password`. All faults are reported together, and "
            "the process exits with 78.\n"
        ),
        "| environment | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = "**required**"
        if field.default is not PydanticUndefined:
            default = _shown(field.default)
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """docs/metrics.md: every metric, and what to do about each alert."""
    head = (HERE / "metrics_head.txt").read_text(encoding="utf-8")
    lines = [NOTE + head, "| metric | type | meaning |", "|---|---|---|"]
    for family in measures.all_families():
        suffix = "_total" if family.type == "counter" else ""
        lines.append(f"| `{family.name}{suffix}` | {family.type} | {family.documentation} |")
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    if value is None or value == ():
        return NOTHING
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{getattr(value, 'value', value)}`"


def golden() -> str:
    """docs/golden.md: what the golden tests show, by the files that they are in."""
    lines = [
        NOTE + "# The golden suite\n",
        (
            "Small repositories, each for a feature of the builder, built on a real cluster; what "
            "is looked at is the image that came out, or what the API tells. `make golden` runs "
            'all of them, `make golden ARGS="tests/golden/test_sources.py -k lfs"` some, '
            "`make test` all but the slow ones."
        ),
    ]
    for path in sorted(GOLDEN.glob("test_*.py")):
        module = importlib.import_module(f"tests.golden.{path.stem}")
        title, *_ = inspect.cleandoc(module.__doc__ or "").splitlines()
        lines.append(f"\n## {title.rstrip('.')}\n\n`tests/golden/{path.name}`\n")
        lines += [f"- {_told(test)}" for test in vars(module).values() if _is_test(test)]
    return "\n".join(lines) + "\n"


def _is_test(value: object) -> typing.TypeGuard[types.FunctionType]:
    return isinstance(value, types.FunctionType) and value.__name__.startswith("test_")


def _told(test: types.FunctionType) -> str:
    """Its name as words, its cases, and what it says of itself."""
    words = test.__name__.removeprefix("test_").replace("_", " ")
    for mark in getattr(test, "pytestmark", ()):
        if mark.name == "parametrize":
            cases = ", ".join(map(_case, mark.kwargs.get("ids") or mark.args[1]))
            words += f" ({cases.replace('_', ' ')})"
        elif mark.name == "slow":
            words += " (slow)"
    told = " ".join(inspect.cleandoc(test.__doc__ or "").split())
    return f"{words}. {told}".rstrip() if told else words


def _case(value: object) -> str:
    """Of a parameter, which may be a `pytest.param`."""
    return ", ".join(map(str, getattr(value, "values", [value])))


PAGES = {
    "states.md": states,
    "configuration.md": configuration,
    "golden.md": golden,
    "metrics.md": metrics,
}

if __name__ == "__main__":
    for file, page in PAGES.items():
        (HERE / file).write_text(page(), encoding="utf-8")
