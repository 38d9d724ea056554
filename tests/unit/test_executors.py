"""Executors that live on: who gets which, and which of them end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builder_framework.domain import events as ev
from builder_framework.domain.model import Attempt, Placement
from builder_framework.protocol import Reason, Report
from builder_framework.service import executors as module
from builder_framework.service.executors import Executors
from tests.contract.builds import after, build

HOME = ("a1", "ann")


def attempt(executor: str, task: str, reason: Reason | None = None) -> Attempt:
    place = Placement("a1", "a1", "http://a1:5051", 0, executor, "framework")
    return Attempt(1, task, place, placed_at=1.0, ended_at=2.0, reason=reason)


@pytest.fixture
def pool() -> Executors:
    made = Executors(idle=60.0)
    made.placed("e1", HOME, "t1")
    return made


def test_a_running_one_takes_more_whatever_the_time(pool: Executors) -> None:
    assert pool.find(HOME, 1e9) == "e1"
    assert pool.homes(1e9) == {HOME}
    assert pool.find(("a2", "ann"), 1.0) is pool.find(("a1", "bob"), 1.0) is None


def test_an_idle_one_takes_more_for_a_while_and_then_ends(pool: Executors) -> None:
    pool.ended(attempt("e1", "t1"), now=100.0)
    assert pool.find(HOME, 159.0) == "e1"
    assert pool.surplus(159.0) == []
    assert pool.find(HOME, 161.0) is None
    assert pool.homes(161.0) == set()
    assert pool.surplus(161.0) == [("e1", "a1")]
    assert pool.surplus(161.0) == []


def test_it_is_idle_since_its_last_build_ended_not_since_that_was_heard_again(
    pool: Executors,
) -> None:
    pool.ended(attempt("e1", "t1"), now=100.0)
    pool.ended(attempt("e1", "t1"), now=150.0)
    assert pool.find(HOME, 161.0) is None


def test_one_that_others_still_use_is_not_idle(pool: Executors) -> None:
    pool.placed("e1", HOME, "t2")
    pool.ended(attempt("e1", "t1"), now=100.0)
    assert (pool.idle_by_agent(), pool.surplus(1e9)) == ({}, [])
    pool.ended(attempt("e1", "t2"), now=200.0)
    assert pool.idle_by_agent() == {"a1": 1}


@pytest.mark.parametrize("reason", [Reason.ENGINE_FAILED, Reason.EXECUTOR_LOST, Reason.DISK_FULL])
def test_after_a_failure_around_the_build_it_takes_no_more(pool: Executors, reason: Reason) -> None:
    pool.placed("e1", HOME, "t2")
    pool.ended(attempt("e1", "t1", reason), now=100.0)
    assert pool.find(HOME, 100.0) is None
    assert pool.surplus(100.0) == [], "another build runs in it"
    pool.ended(attempt("e1", "t2"), now=101.0)
    assert pool.surplus(101.0) == [("e1", "a1")]


@pytest.mark.parametrize("reason", [Reason.STEP_FAILED, Reason.CANCELLED, None])
def test_what_a_build_did_itself_says_nothing_of_it(pool: Executors, reason: Reason | None) -> None:
    pool.ended(attempt("e1", "t1", reason), now=100.0)
    assert pool.find(HOME, 100.0) == "e1"


def test_those_of_an_earlier_process_end_with_their_last_build() -> None:
    """They would keep their caches from the ones that take builds."""
    ended, running = (
        after(build(name), ev.Placed(Placement("a1", "a1", "http://a1:5051", 0, name, "f")))
        for name in ("done", "busy")
    )
    ended = after(ended, ev.TaskSucceeded(1, Report()))
    (attempt_,) = ended.attempts
    assert attempt_.ended_at is not None
    pool = Executors(idle=60.0)
    pool.recall([ended, running], now=attempt_.ended_at + 10)
    assert pool.homes(0.0) == set()
    assert pool.surplus(attempt_.ended_at + 10) == [("done", "a1")]
    pool.ended(replace(running.attempts[0], ended_at=200.0), now=200.0)
    assert pool.surplus(200.0) == [("busy", "a1")]


def test_those_that_are_gone_for_long_are_not_told_to_end() -> None:
    old = after(build("b"), ev.Placed(Placement("a1", "a1", "http://a1:5051", 0, "e", "f")))
    old = after(old, ev.TaskSucceeded(1, Report()))
    for pool, now in ((Executors(idle=60.0), 1e6), (Executors(idle=0.0), 1.0)):
        pool.recall([old], now)
        assert pool.surplus(now) == []


def test_one_that_is_gone_is_forgotten(pool: Executors) -> None:
    pool.lost("e1")
    pool.lost("e1")
    assert pool.find(HOME, 1.0) is None
    assert pool.surplus(1e9) == []


def test_a_newer_one_takes_the_place_of_a_closed_one(pool: Executors) -> None:
    pool.close("e1")
    pool.close("unknown")
    pool.placed("e2", HOME, "t2")
    assert pool.find(HOME, 1.0) == "e2"
    pool.ended(attempt("e1", "t1", Reason.EXECUTOR_LOST), now=1.0)
    assert pool.find(HOME, 1.0) == "e2"
    pool.ended(attempt("unknown", "t"), now=1.0)


def test_it_is_replaced_after_many_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sandbox, which keeps every build's log, is the agent's to collect only then."""
    monkeypatch.setattr(module, "MOST_BUILDS", 3)
    pool = Executors(idle=60.0)
    for number in range(3):
        pool.placed("e1", HOME, f"t{number}")
    assert pool.find(HOME, 1.0) is None


def test_few_idle_ones_stay_on_an_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_PER_AGENT", 2)
    pool = Executors(idle=60.0)
    for number in range(4):
        pool.placed(f"e{number}", ("a1", str(number)), f"t{number}")
        pool.ended(attempt(f"e{number}", f"t{number}"), now=10.0 + number)
    assert pool.surplus(15.0) == [("e0", "a1"), ("e1", "a1")]
    assert pool.make_room("a1", 1) == [("e2", "a1")]
    assert pool.homes(15.0) == {("a1", "3")}
