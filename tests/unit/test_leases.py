"""Whatever gets lost, a build publishes one digest, and only its current attempt may."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builder_framework.domain import events as ev
from builder_framework.domain import machine
from builder_framework.domain.effects import AnswerLease, CollectLog, Kill
from builder_framework.domain.model import Build
from builder_framework.domain.states import State
from builder_framework.protocol import Reason, Report
from tests.unit.test_machine import IN_STATE, PLACEMENT, POLICY, cancelling, running, staging, step

pytestmark = pytest.mark.domain

ONE, TWO = "sha256:1", "sha256:2"


def asked(attempt: int, digest: str = ONE, replaces: str | None = None) -> ev.LeaseRequested:
    return ev.LeaseRequested(attempt, "nonce", digest, replaces)


def answer(result: machine.Step) -> AnswerLease:
    found = [effect for effect in result.effects if isinstance(effect, AnswerLease)]
    assert len(found) == 1
    return found[0]


def leased(at: float = 30.0) -> Build:
    return step(running(), asked(1), at).build


def second_attempt() -> Build:
    lost = step(leased(), ev.TaskLost(1, Reason.AGENT_LOST, "gone"), 40.0).build
    placed = step(lost, ev.Placed(replace(PLACEMENT, executor_id="other")), 100.0).build
    return step(placed, ev.TaskSeen(2, running=True), 101.0).build


def test_the_current_attempt_gets_the_lease_and_its_digest_is_pinned() -> None:
    result = step(running(), asked(1), 30.0)
    granted = answer(result)
    assert (granted.granted, granted.seconds) == (True, POLICY.lease_seconds)
    assert (granted.executor_id, granted.nonce) == ("executor", "nonce")
    assert result.build.pinned == ONE
    attempt = result.build.attempts[0]
    # We take it for valid longer than the executor does.
    assert attempt.lease_until is not None
    assert attempt.lease_until > 30.0 + granted.seconds


def test_asking_again_makes_it_longer() -> None:
    again = step(leased(30.0), asked(1), 50.0)
    assert answer(again).granted
    assert again.build.attempts[0].lease_until == 50.0 + POLICY.lease_seconds + POLICY.lease_slack


def test_a_question_that_overtakes_the_news_of_the_start_is_answered() -> None:
    result = step(staging(), asked(1), 30.0)
    assert answer(result).granted
    assert result.build.state is State.RUNNING
    assert CollectLog(result.build.id) in result.effects


def test_an_attempt_that_was_given_up_gets_nothing_and_is_killed() -> None:
    result = step(second_attempt(), asked(1), 110.0)
    assert not answer(result).granted
    assert Kill(f"{result.build.id}.1", "agent") in result.effects


@pytest.mark.parametrize("state", [State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED])
def test_nobody_publishes_for_a_build_that_waits_or_is_over(state: State) -> None:
    build = IN_STATE[state]()
    if state is State.QUEUED:
        build = step(running(), ev.TaskMissing(1, "gone")).build
    result = step(build, asked(1), 50.0)
    assert not answer(result).granted
    assert result.build is build


def test_a_build_that_is_being_stopped_does_not_publish() -> None:
    result = step(cancelling(), asked(1), 50.0)
    assert not answer(result).granted
    assert answer(result).message == "cancelled by ann"


def test_an_attempt_on_an_agent_that_is_away_has_to_ask_again() -> None:
    away = IN_STATE[State.UNREACHABLE]()
    assert step(away, asked(1), 50.0).effects == ()


def test_the_next_attempt_waits_for_the_lease_to_run_out() -> None:
    lost = step(leased(30.0), ev.TaskLost(1, Reason.AGENT_LOST, "gone"), 31.0).build
    assert lost.not_before == 30.0 + POLICY.lease_seconds + POLICY.lease_slack


def test_another_digest_is_refused_unless_the_pinned_one_is_gone() -> None:
    build = second_attempt()
    refused = step(build, asked(2, TWO), 110.0)
    assert not answer(refused).granted
    assert ONE in answer(refused).message
    assert refused.build is build
    assert answer(step(build, asked(2, ONE), 110.0)).granted
    replaced = step(build, asked(2, TWO, replaces=ONE), 110.0)
    assert answer(replaced).granted
    assert replaced.build.pinned == TWO


def test_a_pinned_build_gets_more_attempts_for_only_its_tags_are_missing() -> None:
    build, now, number = leased(), 100.0, 1
    while not build.terminal:
        build = step(build, ev.TaskLost(number, Reason.AGENT_LOST, "gone"), now).build
        now = max(now, build.not_before) + 1
        if build.state is State.QUEUED:
            build = step(build, ev.Placed(PLACEMENT), now).build
            number += 1
            build = step(build, ev.TaskProgressed(number, Report()), now).build
    assert number == build.request.max_attempts + POLICY.retry.publish_attempts
    assert "may have been published as sha256:1" in (build.message or "")


def test_news_of_success_from_an_attempt_that_was_given_up_counts_if_it_had_its_lease() -> None:
    lost = step(leased(), ev.UnreachableExpired(), 40.0)
    assert lost.build.state is State.RUNNING
    away = step(leased(), ev.TaskUnreachable(1), 40.0).build
    queued = step(away, ev.UnreachableExpired(), 2000.0).build
    assert queued.state is State.QUEUED
    late = step(queued, ev.TaskSucceeded(1, Report(digest=ONE)), 2001.0).build
    assert (late.state, late.result.digest, late.reason) == (State.SUCCEEDED, ONE, None)
    assert late.attempts[0].reason is None
    assert step(queued, ev.TaskSucceeded(1, Report(digest=TWO)), 2001.0).build is queued
