"""Which agent is remembered as warm for what."""

from __future__ import annotations

from dataclasses import replace

from builder_framework.domain import events as ev
from builder_framework.domain.model import Build, Placement
from builder_framework.protocol import CacheUse, Phase, Reason, Report
from builder_framework.service.warmth import Warmth
from tests.contract.builds import after, build


def place(agent: str) -> Placement:
    return Placement(agent, agent, f"http://{agent}:5051", 0, "executor", "framework")


def built(agent: str, git: str = "app", owner: str = "me") -> Build:
    return after(
        build("b", git=git, owner=owner), ev.Placed(place(agent)), ev.TaskSucceeded(1, Report())
    )


def test_the_last_one_that_built_it() -> None:
    warmth = Warmth()
    warmth.recall([built("a1"), built("a2")])
    assert warmth.of(build("next")) == "http://a2:5051"


def test_users_and_sources_apart() -> None:
    warmth = Warmth()
    warmth.learn(built("a1"))
    assert warmth.of(build("x", git="other")) is None
    assert warmth.of(build("x", owner="somebody")) is None


def test_only_what_came_as_far_as_building_left_something() -> None:
    running = after(build("b"), ev.Placed(place("a1")))
    for phase, warm in ((Phase.CLONING, None), (Phase.BUILDING, "http://a1:5051")):
        warmth = Warmth()
        failed = after(
            running, ev.TaskFailed(1, Reason.GIT_REF_NOT_FOUND, "no", Report(phase=phase))
        )
        warmth.learn(replace(failed, phase=phase))
        assert warmth.of(failed) == warm
    warmth = Warmth()
    warmth.learn(running)
    assert warmth.of(running) is None


def test_a_build_without_a_cache_warms_nothing_and_needs_no_warmth() -> None:
    warmth = Warmth()
    cold = built("a1")
    cold = replace(cold, request=replace(cold.request, cache=CacheUse.NONE))
    warmth.learn(cold)
    assert warmth.of(build("next")) is None
    warmth.learn(built("a2"))
    assert warmth.of(cold) is None


def test_what_was_used_longest_ago_is_forgotten() -> None:
    warmth = Warmth(remembered=2)
    warmth.recall(
        [built("a1", "one"), built("a1", "two"), built("a1", "one"), built("a1", "three")]
    )
    known = [git for git in ("one", "two", "three") if warmth.of(build("x", git=git))]
    assert known == ["one", "three"]
