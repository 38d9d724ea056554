"""What builds are found by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.domain import events as ev
from builder_framework.domain import machine, words
from builder_framework.domain.model import Build, BuildRequest
from builder_framework.domain.tasks import TaskRequest
from builder_framework.errors import InvalidValueError
from builder_framework.protocol import Outcome, Phase, Reason, Report
from builder_framework.recipe import (
    GitSource,
    InlineSource,
    RegistryAuth,
    Source,
    TarballSource,
    TaskSource,
)
from builder_framework.redact import Secret
from tests.unit.test_notices import PLACEMENT, REQUEST, submitted

pytestmark = pytest.mark.domain

COMMIT = "c0ffee" + "0" * 34
DIGEST = "sha256:" + "d1" * 32
GIT = GitSource("https://git.example.org/Shop/Web_App.git", "feature/X-1")


def asked(**changes: object) -> BuildRequest:
    images = ("registry.example.org:5000/shop/web:v1.2",)
    own: dict[str, Any] = {"source": Source(GIT), "images": images, "labels": {}, **changes}
    return replace(REQUEST, **own)


def step(build: Build, event: ev.Event) -> Build:
    return machine.step(build, event, 3000.0, machine.MachinePolicy()).build


def found(request: BuildRequest) -> set[str]:
    return set(words.of_request("b123", "ann", request))


def test_a_build_is_found_by_what_it_shows() -> None:
    assert found(asked(project="till", group="Grüße an", labels={"team": "Ops one"})) == {
        *("b123", "ann", "till", "grüsse", "an"),
        *("shop", "web", "app", "feature", "x", "1"),
        *("v1", "2", "team", "ops", "one"),
    }, "and not by hosts, which all have"


@pytest.mark.parametrize(
    ("source", "path"),
    [
        (Source(GitSource("git@git.example.org:lab/x.git")), {"lab", "x"}),
        (Source(GitSource("ssh://git@git.example.org:22/lab/x")), {"lab", "x"}),
        (Source(tarball=TarballSource("https://f.example.org/lab/x.tgz")), {"lab", "x", "tgz"}),
        (Source(inline=InlineSource("FROM secret")), set()),
    ],
)
def test_every_source(source: Source, path: set[str]) -> None:
    request = replace(asked(), source=source)
    assert found(request) == {"b123", "ann", "shop", "web", "v1", "2"} | path


def test_a_task_is_found_by_its_image_and_its_name() -> None:
    source = Source(task=TaskSource("docker.io/library/busybox:1", "echo secret"))
    task = TaskRequest("Nightly clean-up", "busybox")
    request = replace(asked(), source=source, images=(), task=task)
    assert found(request) == {"b123", "ann", "nightly", "clean", "up", "library", "busybox", "1"}


def test_what_is_masked_is_not_found() -> None:
    login = RegistryAuth("ci", Secret("canary"))
    request = asked(registry_auth=login, labels={"note": "the canary sings"})
    assert "canary" not in found(request)
    assert {"note", "the", "sings"} <= found(request)


def test_long_texts_and_many_labels_have_an_end() -> None:
    many = {f"key{number}": f"value{number}" for number in range(100)}
    request = asked(labels={"a": "x" * 32_000, "b": "word " * 6000, **many})
    every = found(request)
    assert len(every) == words.MAX_WORDS
    assert "x" * words.MAX_WORD in every
    assert {"shop", "web", "feature"} <= every, "what it was asked with comes first"


def test_what_a_build_learns() -> None:
    build = submitted(asked())
    assert words.learned(build) == frozenset()
    build = step(build, ev.Placed(replace(PLACEMENT, hostname="node-7.example.org")))
    assert words.learned(build) == {"node", "7"}
    report = Report(Phase.PUSHING, Outcome.SUCCEEDED, commit=COMMIT, digest=DIGEST)
    build = step(build, ev.TaskSucceeded(1, report))
    assert words.learned(build) == {"node", "7", COMMIT, ("d1" * 32)[: words.MAX_WORD]}
    assert words.of(build) == words.learned(build) | words.of_request(
        build.id, build.owner, build.request
    )


def test_why_it_failed_is_a_word() -> None:
    build: Build = step(submitted(asked()), ev.Placed(PLACEMENT))
    build = step(build, ev.TaskFailed(1, Reason.STEP_FAILED, "secret words of the log"))
    assert {"step", "failed"} <= words.learned(build)
    assert "log" not in words.learned(build)


@pytest.mark.parametrize(
    ("text", "sought"),
    [
        ("web", ("web",)),
        ("  Shop/WEB-app  shop ", ("shop", "web", "app")),
        ("v1.2", ("v1", "2")),
        (COMMIT + "ff", (COMMIT,)),
        ("straße", ("strasse",)),
    ],
)
def test_what_is_sought(text: str, sought: tuple[str, ...]) -> None:
    assert words.parse(text) == sought


@pytest.mark.parametrize("text", ["", "  ", "-/_", "***", "a b c d e f g h i", "\0", "\ud800"])
def test_what_cannot_be_sought(text: str) -> None:
    with pytest.raises(InvalidValueError):
        words.parse(text)


def test_beginnings_of_words_are_enough_and_each_has_to_be_there() -> None:
    build = words.of(submitted(asked()))
    assert words.fits(build, ("sh", "feat", "web"))
    assert words.fits(build, ())
    assert words.name_of("registry.example.org:5000/shop/web:v1") == "shop/web:v1"
    assert not words.fits(build, ("shop", "till"))
    assert not words.fits(build, ("hop",))


@given(st.text(max_size=80))
def test_what_is_shown_is_found_by_itself(text: str) -> None:
    request = asked(labels={"l": text})
    try:
        sought = words.parse(text)
    except InvalidValueError:
        return
    assert words.fits(frozenset(found(request)), sought)
