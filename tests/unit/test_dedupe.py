"""Who asks for what is being made gets that, and nobody gets anything older than he asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from builder_framework.domain import dedupe, machine
from builder_framework.domain import events as ev
from builder_framework.domain.model import (
    Build,
    BuildRequest,
    Constraint,
    Dedupe,
    Placement,
    Resources,
    Supersede,
)
from builder_framework.protocol import CacheUse, Reason, Report
from builder_framework.recipe import (
    GitSource,
    InlineSource,
    Output,
    Recipe,
    RegistryAuth,
    Source,
    TarballSource,
    UploadSource,
)
from builder_framework.redact import Secret

POLICY = machine.MachinePolicy()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REQUEST = BuildRequest(
    Source(GitSource("https://git.example.org/app.git", COMMIT)),
    ("registry.example.org/app:1",),
    timeout=60.0,
    queue_ttl=60.0,
    resources=Resources(1.0, 64.0),
    dedupe=Dedupe.RUNNING,
)
PLACE = Placement("agent", "host", "http://10.0.0.1:5051", 0, "executor", "framework")
UPLOAD = UploadSource("id", "0" * 64, 10, Secret("token"))

PLACED = ev.Placed(PLACE)
DONE = ev.TaskSucceeded(1, Report(digest="sha256:1"))
FAILED = ev.TaskFailed(1, Reason.STEP_FAILED, "no")
CANCEL = ev.CancelRequested("ann")


def build(*events: ev.Event, **changes: Any) -> Build:
    made = machine.step(None, ev.Submitted("b", replace(REQUEST, **changes), "ann"), 1.0, POLICY)
    one = made.build
    for each in events:
        one = machine.step(one, each, 100.0, POLICY).build
    return one


@pytest.mark.parametrize(
    ("source", "fixed"),
    [
        (Source(GitSource("https://h.example/a.git", COMMIT)), True),
        (Source(GitSource("https://h.example/a.git", COMMIT + COMMIT[:24])), True),
        (Source(GitSource("https://h.example/a.git", COMMIT[:12])), False),
        (Source(GitSource("https://h.example/a.git", "main")), False),
        (Source(GitSource("https://h.example/a.git")), False),
        (Source(tarball=TarballSource("https://h.example/a", sha256="0" * 64)), True),
        (Source(tarball=TarballSource("https://h.example/a")), False),
        (Source(inline=InlineSource("FROM x")), True),
        (Source(upload=UPLOAD), True),
    ],
)
def test_only_what_cannot_change_is_shared(source: Source, fixed: bool) -> None:
    """A branch may have moved since; a tag may, too."""
    assert dedupe.is_fixed(source) is fixed
    assert dedupe.applies(replace(REQUEST, source=source)) is fixed
    assert not dedupe.applies(replace(REQUEST, source=source, dedupe=Dedupe.OFF))


@pytest.mark.parametrize(
    "changes",
    [
        {"timeout": 1.0},
        {"queue_ttl": 1.0},
        {"resources": Resources(2.0)},
        {"constraints": (Constraint("rack", "IS", "a"),)},
        {"priority": 5},
        {"labels": {"ci": "42"}},
        {"max_attempts": 1},
        {"supersede": Supersede.RUNNING},
        {"group": "g"},
        {"dedupe": Dedupe.FINISHED},
    ],
)
def test_when_and_where_it_is_done_does_not_matter(changes: dict[str, Any]) -> None:
    assert dedupe.essence(replace(REQUEST, **changes)) == dedupe.essence(REQUEST)


@pytest.mark.parametrize(
    "changes",
    [
        {"source": Source(GitSource("https://git.example.org/app.git", "f" * 40))},
        {"source": Source(GitSource("https://git.example.org/fork.git", COMMIT))},
        {"source": Source(GitSource("https://git.example.org/app.git", COMMIT, lfs=True))},
        {"images": ("registry.example.org/app:2",)},
        {"recipe": Recipe(build_args={"A": "1"})},
        {"recipe": Recipe(secrets={"token": Secret("other")})},
        {"output": Output(timestamp="zero")},
        {"registry_auth": RegistryAuth("me", Secret("x"))},
        # Who wants nothing of other builds, or to be on another network, gets no build of those.
        {"cache": CacheUse.NONE},
        {"executor_network": "weave"},
        # Nobody may wait for news that he never gets.
        {"webhooks": (Secret("https://hooks.example/mine"),)},
    ],
)
def test_what_comes_of_it_and_who_hears_of_it_does(changes: dict[str, Any]) -> None:
    assert dedupe.essence(replace(REQUEST, **changes)) != dedupe.essence(REQUEST)


def test_the_same_files_are_the_same_however_often_they_are_sent() -> None:
    again = replace(UPLOAD, id="other", token=Secret("other"))
    other = replace(UPLOAD, sha256="1" * 64)
    ours, same, different = (
        dedupe.essence(replace(REQUEST, source=Source(upload=each)))
        for each in (UPLOAD, again, other)
    )
    assert ours == same != different


@pytest.mark.parametrize("events", [(), (PLACED,), (PLACED, ev.TaskSeen(1, running=True))])
def test_a_build_that_is_not_over_is_joined(events: tuple[ev.Event, ...]) -> None:
    assert dedupe.joins(REQUEST, build(*events), 200.0, window=0.0)


@pytest.mark.parametrize("events", [(PLACED, CANCEL), (CANCEL,), (PLACED, FAILED)])
def test_one_that_ends_without_an_image_is_not(events: tuple[ev.Event, ...]) -> None:
    asked = replace(REQUEST, dedupe=Dedupe.FINISHED)
    assert not dedupe.joins(asked, build(*events), 100.0, window=60.0)


@pytest.mark.parametrize(
    ("wish", "recipe", "now", "expected"),
    [
        (Dedupe.FINISHED, Recipe(), 160.0, True),
        (Dedupe.FINISHED, Recipe(), 161.0, False),
        (Dedupe.RUNNING, Recipe(), 100.0, False),
        (Dedupe.FINISHED, Recipe(pull=True), 100.0, False),
        (Dedupe.FINISHED, Recipe(no_cache=True), 100.0, False),
    ],
)
def test_a_finished_one_does_for_a_while_for_those_who_say_so(
    wish: Dedupe, recipe: Recipe, now: float, expected: bool
) -> None:
    """Who asks for newer base images or for every step anew wants it done."""
    asked = replace(REQUEST, dedupe=wish, recipe=recipe)
    assert dedupe.joins(asked, build(PLACED, DONE), now, window=60.0) is expected
    cold = replace(asked, cache=CacheUse.NONE)
    assert not dedupe.joins(cold, build(PLACED, DONE), now, window=60.0)


@pytest.mark.parametrize("events", [(), (PLACED,), (PLACED, CANCEL), (PLACED, DONE)])
def test_a_build_counts_who_joined_and_is_otherwise_as_it_was(events: tuple[ev.Event, ...]) -> None:
    before = build(*events)
    after = machine.step(before, ev.Joined(), 200.0, POLICY)
    assert after.build == replace(before, joined=1, version=before.version + 1)
    assert after.effects == ()
