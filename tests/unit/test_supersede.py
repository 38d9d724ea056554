"""A newer build ends older ones of its group: those that want it, and no others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from builder_framework.domain import events as ev
from builder_framework.domain import machine
from builder_framework.domain.model import Build, BuildRequest, Placement, Resources, Supersede
from builder_framework.domain.states import State
from builder_framework.domain.supersede import group_of, superseded
from builder_framework.protocol import Reason, Report
from builder_framework.recipe import GitSource, Source

pytestmark = pytest.mark.domain

POLICY = machine.MachinePolicy()
REQUEST = BuildRequest(
    Source(GitSource("https://git.example.org/app.git", "main")),
    ("registry.example.org/app:1",),
    timeout=60.0,
    queue_ttl=60.0,
    resources=Resources(1.0, 64.0),
    supersede=Supersede.QUEUED,
)
PLACE = Placement("agent", "host", "http://10.0.0.1:5051", 0, "executor", "framework")


def build(name: str, *events: ev.Event, owner: str = "ann", **changes: Any) -> Build:
    event = ev.Submitted(name, replace(REQUEST, **changes), owner)
    made = machine.step(None, event, 1.0, POLICY).build
    for each in events:
        made = machine.step(made, each, 2.0, POLICY).build
    return made


def ended(*others: Build, **changes: Any) -> tuple[str, ...]:
    request = replace(REQUEST, **changes)
    return superseded(request, "ann", group_of(request), others)


def test_a_tag_more_or_less_is_the_same_group() -> None:
    assert ended(build("old", images=("registry.example.org/app:0",))) == ("old",)


@pytest.mark.parametrize(
    "changes",
    [
        {"owner": "bob"},
        {"supersede": Supersede.NONE},
        {"images": ("registry.example.org/other:1",)},
        {"images": ("registry.example.org/app:1", "registry.example.org/other:1")},
        {"source": Source(GitSource("https://git.example.org/app.git", "develop"))},
        {"source": Source(GitSource("https://git.example.org/app.git"))},
        {"source": Source(GitSource("https://git.example.org/fork.git", "main"))},
        {"group": "another"},
    ],
)
def test_what_is_another_group(changes: dict[str, Any]) -> None:
    assert ended(build("old", **changes)) == ()


def test_a_group_may_be_named() -> None:
    """Then nothing else counts."""
    other = Source(GitSource("https://git.example.org/other.git"))
    assert ended(build("old", source=other, group="g"), group="g") == ("old",)
    # A name is no derived group, whatever it says.
    assert ended(build("old", group=(group_of(REQUEST) or ""))) == ()


def test_who_does_not_want_it_ends_nothing() -> None:
    assert ended(build("old"), supersede=Supersede.NONE) == ()


@pytest.mark.parametrize(
    ("events", "queued", "running"),
    [
        ((), True, True),
        ((ev.Placed(PLACE),), False, True),
        ((ev.Placed(PLACE), ev.TaskProgressed(1, Report())), False, True),
        ((ev.Placed(PLACE), ev.CancelRequested("ann")), False, False),
        ((ev.Placed(PLACE), ev.TaskSucceeded(1, Report())), False, False),
    ],
    ids=["queued", "staging", "running", "cancelling", "over"],
)
def test_which_states_end(events: tuple[ev.Event, ...], queued: bool, running: bool) -> None:
    old = build("old", *events)
    assert bool(ended(old)) is queued
    assert bool(ended(old, supersede=Supersede.RUNNING)) is running


def test_both_say_why() -> None:
    new = machine.step(None, ev.Submitted("new", REQUEST, "ann", ("old",)), 1.0, POLICY).build
    assert new.supersedes == ("old",)
    request = ev.CancelRequested("ann", superseded_by="new")
    waiting = build("old", request)
    assert (waiting.state, waiting.reason) == (State.CANCELLED, Reason.SUPERSEDED)
    assert waiting.message == "superseded by build new"
    running = build("old", ev.Placed(PLACE), request, ev.TaskKilled(1))
    assert (running.state, running.reason) == (State.CANCELLED, Reason.SUPERSEDED)
