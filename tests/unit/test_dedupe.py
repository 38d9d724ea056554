"""Who asks for what is being made gets that, and nobody gets anything older than he asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.domain import dedupe, machine
from builder_framework.domain import events as ev
from builder_framework.domain.apps import MarathonDeploy
from builder_framework.domain.model import (
    Build,
    BuildRequest,
    Constraint,
    Dedupe,
    Placement,
    Resources,
    Supersede,
)
from builder_framework.domain.states import State
from builder_framework.protocol import CacheUse, EngineMode, Reason, Report
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

pytestmark = pytest.mark.domain

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
        {"priority": 5},
        {"labels": {"ci": "42"}},
        {"max_attempts": 1},
        {"dedupe": Dedupe.FINISHED},
    ],
)
def test_how_urgent_it_is_and_what_it_is_called_does_not_matter(changes: dict[str, Any]) -> None:
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
        # An agent's platform is the image's; an engine and its neighbours are a matter of trust.
        {"constraints": (Constraint("arch", "IS", "arm64"),)},
        {"engine": EngineMode.ROOTLESS},
        {"exclusive": True},
        # Who asks for more memory would get the build that has too little.
        {"resources": Resources(2.0)},
        # Who wants no newer build to end his, or only those of his group.
        {"supersede": Supersede.RUNNING},
        {"group": "g"},
    ],
)
def test_what_comes_of_it_and_what_becomes_of_it_does(changes: dict[str, Any]) -> None:
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


def test_who_wants_it_deployed_is_given_none_that_is_over() -> None:
    """Its app may have another image since."""
    asked = replace(REQUEST, dedupe=Dedupe.FINISHED, deploy=MarathonDeploy("/shop/web"))
    assert dedupe.joins(replace(asked, deploy=None), build(PLACED, DONE), 100.0, window=60.0)
    assert not dedupe.joins(asked, build(PLACED, DONE), 100.0, window=60.0)
    assert dedupe.joins(asked, build(PLACED), 100.0, window=60.0)


@pytest.mark.parametrize("events", [(), (PLACED,), (PLACED, CANCEL), (PLACED, DONE)])
def test_a_build_counts_who_joined_and_is_otherwise_as_it_was(events: tuple[ev.Event, ...]) -> None:
    before = build(*events)
    after = machine.step(before, ev.Joined(), 200.0, POLICY)
    assert after.build == replace(before, joined=1, version=before.version + 1)
    assert after.effects == ()


URLS = ("https://git.example.org/app.git", "https://git.example.org/fork.git")
SOURCES = st.builds(
    lambda url, ref: Source(GitSource(url, ref)),
    st.sampled_from(URLS),
    st.sampled_from((COMMIT, "f" * 40, "main")),
)
DECIDES: dict[str, st.SearchStrategy[Any]] = {
    "source": SOURCES,
    "images": st.sampled_from([("h.example/a:1",), ("h.example/a:1", "h.example/a:2")]),
    "recipe": st.sampled_from([Recipe(), Recipe(secrets={"t": Secret("1")}), Recipe(pull=True)]),
    "constraints": st.sampled_from([(), (Constraint("arch", "IS", "arm64"),)]),
    "group": st.sampled_from([None, "g"]),
    "webhooks": st.sampled_from([(), (Secret("https://hooks.example/mine"),)]),
}
IGNORED: dict[str, st.SearchStrategy[Any]] = {
    "timeout": st.floats(1, 9),
    "queue_ttl": st.floats(1, 9),
    "priority": st.integers(-5, 5),
    "labels": st.dictionaries(st.text(), st.text()),
    "max_attempts": st.integers(1, 9),
    "dedupe": st.sampled_from(Dedupe),
}
ASKED = st.builds(replace, st.just(REQUEST), **DECIDES, **IGNORED)
LATER = st.lists(
    st.sampled_from([ev.TaskSeen(1, running=True), DONE, FAILED, CANCEL, ev.Joined()]), max_size=6
)
EVENTS = st.builds(list.__add__, st.sampled_from([[], [PLACED]]), LATER)


@given(ASKED, ASKED)
def test_two_requests_are_the_same_when_all_that_decides_is(
    one: BuildRequest, other: BuildRequest
) -> None:
    same = all(getattr(one, name) == getattr(other, name) for name in DECIDES)
    assert (dedupe.essence(one) == dedupe.essence(other)) is same
    assert dedupe.essence(dedupe.essence(one)) == dedupe.essence(one)


@given(ASKED, EVENTS, st.floats(0, 300), st.floats(0, 300))
def test_who_joins_gets_an_image_or_has_yet_to_see(
    request: BuildRequest, events: list[ev.Event], now: float, window: float
) -> None:
    """Whatever a build went through: nobody is given one that will have nothing for him."""
    one = build(*events)
    if not dedupe.joins(request, one, now, window):
        return
    if one.terminal:
        assert one.ended_at is not None
        assert now <= one.ended_at + window
        assert one.state is State.SUCCEEDED
        assert one.result.digest == DONE.report.digest
        assert request.dedupe is Dedupe.FINISHED
        assert not request.recipe.pull
    else:
        steps: list[ev.Event] = [PLACED, DONE] if one.state is State.QUEUED else [DONE]
        for event in steps:
            one = machine.step(one, event, 300.0, POLICY).build
        assert one.state is State.SUCCEEDED, "nothing was in its way"


@pytest.mark.parametrize(
    ("owner", "wish", "given"),
    [("ann", Dedupe.RUNNING, True), ("bob", Dedupe.RUNNING, False), ("ann", Dedupe.OFF, False)],
)
def test_a_build_is_given_only_if_who_asked_first_wanted_that(
    owner: str, wish: Dedupe, given: bool
) -> None:
    """Else somebody who never heard of others could see his build ended by them."""
    wanted = dedupe.essence(REQUEST)
    assert dedupe.is_of(build(dedupe=wish), wanted, owner) is given
    assert not dedupe.is_of(build(dedupe=wish), dedupe.essence(replace(REQUEST, group="g")), owner)


@pytest.mark.parametrize(
    ("tags", "retagged"), [("1", True), ("2", False), ("21", True), ("23", False)]
)
def test_a_later_build_takes_the_tags_that_it_has(tags: str, retagged: bool) -> None:
    later = build(images=tuple(f"registry.example.org/app:{tag}" for tag in tags))
    assert dedupe.retags(later, REQUEST) is retagged
