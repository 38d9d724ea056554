"""What webhooks tell: each event once, in order, and nothing that is secret."""

from __future__ import annotations

import contextlib
import itertools
import json
import typing
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.domain import events as ev
from builder_framework.domain import machine
from builder_framework.domain.announcer import Announcer
from builder_framework.domain.delivery import Delivery
from builder_framework.domain.model import Build, BuildRequest, Placement, Resources
from builder_framework.domain.notices import (
    Notice,
    is_message_id,
    no_notices,
    payload,
    story,
)
from builder_framework.protocol import Phase, Reason, Report
from builder_framework.recipe import (
    GitSource,
    InlineSource,
    RegistryAuth,
    Source,
    TarballSource,
    UploadSource,
)
from builder_framework.redact import Secret

pytestmark = pytest.mark.domain

POLICY = machine.MachinePolicy()
PLACEMENT = Placement("agent", "host", "http://10.0.0.1:5051", 0, "executor", "framework")
REQUEST = BuildRequest(
    Source(GitSource("https://git.example.org/app.git", "main")),
    ("registry.example.org/app:1",),
    timeout=100.0,
    queue_ttl=1000.0,
    resources=Resources(1.0, 512.0),
    labels={"team": "web"},
    webhooks=(Secret("https://hooks.example.org/own"),),
)
HERE = Secret("https://hooks.example.org/all")
ANNOUNCER = Announcer((HERE,), "https://builder.example.org/")


def step(build: Build | None, event: ev.Event, now: float) -> Build:
    return machine.step(build, event, now, POLICY).build


def submitted(request: BuildRequest = REQUEST) -> Build:
    return step(None, ev.Submitted("b" * 16, request, "ann"), 1.0)


def lived() -> list[Build]:
    """A build after each event: its first task vanishes, the second one builds."""
    events: list[ev.Event] = [
        ev.Placed(PLACEMENT),
        ev.TaskMissing(1, "not launched"),
        ev.Placed(PLACEMENT),
        ev.TaskProgressed(2, Report(phase=Phase.CLONING)),
        ev.TaskProgressed(2, Report(phase=Phase.BUILDING)),
        ev.TaskSucceeded(2, Report(commit="c0ffee", digest="sha256:1")),
        ev.LogCompleted(),
    ]
    builds = [submitted()]
    for now, event in enumerate(events, start=2):
        builds.append(step(builds[-1], event, float(now)))
    return builds


def data(delivery: Delivery) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(delivery.payload)["data"]
    return found


def test_a_build_is_told_as_it_goes() -> None:
    builds = lived()
    told = [
        [one.event for one in ANNOUNCER.deliveries_of(before, after, 9.0) if one.url == HERE]
        for before, after in zip([None, *builds], builds, strict=False)
    ]
    assert told == [
        ["build.queued"],
        [],
        [],
        ["build.retried"],
        ["build.started"],
        [],
        ["build.finished"],
        [],
    ]


def test_changes_stored_together_tell_the_same_as_changes_stored_one_by_one() -> None:
    """One turn of the loop may take several events in: nothing is left out, order is kept."""
    builds = lived()
    at_once = ANNOUNCER.deliveries_of(None, builds[-1], 9.0)
    one_by_one = [
        one
        for before, after in zip([None, *builds], builds, strict=False)
        for one in ANNOUNCER.deliveries_of(before, after, 9.0)
    ]
    assert [(x.id, x.event, x.url) for x in at_once] == [(x.id, x.event, x.url) for x in one_by_one]
    assert [data(x)["sequence"] for x in at_once if x.url == HERE] == [1, 2, 3, 4]
    assert len({x.id for x in at_once}) == 8


def test_an_id_says_nothing_of_the_url() -> None:
    """Everybody may list deliveries: a hash of the URL would be a way to try guesses of a token."""
    build = submitted(replace(REQUEST, webhooks=()))
    ids = [
        Announcer((Secret(url),)).deliveries_of(None, build, 1.0)[0].id
        for url in ("https://hooks.example.org/one", "https://hooks.example.org/two")
    ]
    assert ids[0] == ids[1]


def test_what_is_told_of_a_build_that_succeeded() -> None:
    builds = lived()
    last = ANNOUNCER.deliveries_of(builds[5], builds[6], 9.0)[0]
    assert json.loads(last.payload) == {
        "type": "build.finished",
        "timestamp": "1970-01-01T00:00:07.000Z",
        "data": {
            "id": "b" * 16,
            "sequence": 4,
            "state": "SUCCEEDED",
            "phase": None,
            "reason": None,
            "message": None,
            "owner": "ann",
            "source": {"git": {"url": "https://git.example.org/app.git", "ref": "main"}},
            "commit": "c0ffee",
            "images": ["registry.example.org/app:1"],
            "digest": "sha256:1",
            "labels": {"team": "web"},
            "attempts": 2,
            "created_at": "1970-01-01T00:00:01.000Z",
            "started_at": "1970-01-01T00:00:05.000Z",
            "ended_at": "1970-01-01T00:00:07.000Z",
            "link": f"https://builder.example.org/api/v1/builds/{'b' * 16}",
        },
    }
    assert (last.created_at, last.next_at) == (9.0, 9.0)


def test_without_an_announcer_nobody_is_told() -> None:
    assert no_notices(None, submitted(), 1.0) == ()


def test_a_url_that_operator_and_build_both_name_is_told_once() -> None:
    build = submitted(replace(REQUEST, webhooks=(HERE, HERE)))
    assert [one.url for one in ANNOUNCER.deliveries_of(None, build, 1.0)] == [HERE]
    assert (
        Announcer().deliveries_of(None, replace(build, request=replace(REQUEST, webhooks=())), 1.0)
        == ()
    )
    assert "link" not in data(Announcer((HERE,)).deliveries_of(None, build, 1.0)[0])


def test_secrets_are_not_told() -> None:
    git = GitSource("https://git.example.org/app.git", "s3cr3t-ref", "ann", Secret("s3cr3t"))
    request = replace(
        REQUEST,
        source=Source(git),
        registry_auth=RegistryAuth("ann", Secret("passw0rd")),
        labels={"note": "passw0rd"},
    )
    build = step(submitted(request), ev.Placed(PLACEMENT), 2.0)
    # The message is cut after it was masked, or half of a password would pass.
    message = "x" * 497 + "s3cr3t" * 2
    over = step(build, ev.TaskFailed(1, Reason.GIT_AUTH_FAILED, message), 3.0)
    text = payload(over, Notice.FINISHED, 3.0, 2, None)
    assert "s3c" not in text
    assert "passw0rd" not in text
    assert json.loads(text)["data"]["reason"] == "git_auth_failed"
    assert json.loads(text)["data"]["message"].endswith("x**…")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            Source(tarball=TarballSource.at("https://h.example/a.tgz?signature=canary")),
            {"tarball": {"url": "https://h.example/a.tgz"}},
        ),
        (
            Source(upload=UploadSource("i", "0" * 64, 7, Secret("canary"))),
            {"upload": {"sha256": "0" * 64, "size": 7}},
        ),
        (Source(inline=InlineSource("FROM canary")), {"inline": {}}),
    ],
)
def test_every_kind_of_source_is_told_without_its_secrets(
    source: Source, told: dict[str, Any]
) -> None:
    build = submitted(replace(REQUEST, source=source))
    text = payload(build, Notice.QUEUED, 3.0, 1, None)
    assert json.loads(text)["data"]["source"] == told
    assert "canary" not in text


def test_the_largest_build_is_told_in_less_than_20_kilobytes() -> None:
    images = tuple(
        f"registry.example.org/{number:02d}{'a' * 232}:{'t' * 128}" for number in range(20)
    )
    request = replace(
        REQUEST,
        source=Source(GitSource(f"https://git.example.org/{'a' * 2020}", "ä" * 127)),
        images=images,
        labels={f"k{number}": "x" * 300 for number in range(100)},
    )
    build = step(submitted(request), ev.Placed(PLACEMENT), 2.0)
    over = step(build, ev.TaskFailed(1, Reason.STEP_FAILED, "\x01" * 5000), 3.0)
    text = payload(over, Notice.FINISHED, 3.0, 2, "https://builder.example.org/x")
    assert len(text.encode()) < 20_000
    assert json.loads(text)["data"]["labels"] is None
    assert json.loads(text)["data"]["images"] == list(images)


def _events() -> Iterator[ev.Event]:
    """One of each kind for each of three attempts, with its flags set and not."""
    for kind in typing.get_args(ev.Event):
        for attempt, flag in itertools.product((1, 2, 3), (True, False)):
            # By type, so that a new kind of event is in here from its first day.
            values: dict[object, object] = {
                int: attempt,
                bool: flag,
                str: "sha256:1",
                Placement: PLACEMENT,
                Report: Report(phase=Phase.BUILDING),
                Reason: Reason.AGENT_LOST,
                BuildRequest: REQUEST,
            }
            hints = typing.get_type_hints(kind)
            yield kind(**{name: values[hint] for name, hint in hints.items() if hint in values})


# Half of them bring a build somewhere; the rest is late, doubled or meaningless.
happenings = st.tuples(
    st.sampled_from([ev.Placed(PLACEMENT), ev.TaskSeen(1, running=True)])
    | st.sampled_from(list(_events())),
    st.booleans(),
)


@given(st.lists(happenings, max_size=40))
def test_whatever_happens_each_event_is_told_once_and_the_end_exactly_once(
    happened: list[tuple[ev.Event, bool]],
) -> None:
    """For any sequence of steps, stored in turns of any size."""
    stored: Build | None = None
    build = submitted()
    told: list[tuple[str, int]] = []

    def store() -> None:
        nonlocal stored
        new = ANNOUNCER.deliveries_of(stored, build, 9.0)
        told.extend((one.event, data(one)["sequence"]) for one in new if one.url == HERE)
        stored = build

    for now, (event, turn_ends) in enumerate(happened, start=2):
        with contextlib.suppress(machine.InvalidTransitionError):
            build = step(build, event, float(now))
        if turn_ends:
            store()
    store()
    names = [name for name, _ in told]
    assert [sequence for _, sequence in told] == list(range(1, len(told) + 1))
    assert names[0] == "build.queued"
    assert names.count("build.queued") == 1
    assert names.count("build.started") == any(a.running_at is not None for a in build.attempts)
    assert names.count("build.retried") == max(0, len(build.attempts) - 1)
    assert names.count("build.finished") == build.terminal
    if build.terminal:
        assert names[-1] == "build.finished"
    assert names == [notice.value for notice, _ in story(build)]


def test_an_id_is_known_from_other_texts() -> None:
    first = ANNOUNCER.deliveries_of(None, submitted(), 9.0)[0]
    assert is_message_id(first.id)
    assert not is_message_id("msg_1")
    assert not is_message_id(f"{first.id}\n")
