"""Builds in any state, for tests of stores."""

from __future__ import annotations

from builder_framework.domain import events as ev
from builder_framework.domain import machine
from builder_framework.domain.model import Build, BuildRequest, Placement, Resources
from builder_framework.recipe import GitSource, Source

POLICY = machine.MachinePolicy()
PLACEMENT = Placement("agent", "host", "http://10.0.0.1:5051", 3, "executor", "framework")


def build(name: str, *, git: str = "app", image: str = "app", owner: str = "me") -> Build:
    request = BuildRequest(
        Source(GitSource(f"https://git.example.org/{git}.git")),
        (f"registry.example.org/{image}:1",),
        timeout=60.0,
        queue_ttl=60.0,
        resources=Resources(1.0, 64.0),
        labels={"team": git},
    )
    event = ev.Submitted(name.ljust(16, "0"), request, owner)
    return machine.step(None, event, 1.0, POLICY).build


def after(before: Build, *events: ev.Event) -> Build:
    for event in events:
        before = machine.step(before, event, 2.0, POLICY).build
    return before
