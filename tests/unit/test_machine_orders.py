"""The machine under any order of events, with duplicates: too many of them to be counted as well.

The other tests of the machine, which are, reach its every branch (`pytest.mark.domain`).
"""

from __future__ import annotations

import functools
import itertools
import typing
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from builder_framework.domain import events as ev
from builder_framework.domain import machine
from builder_framework.domain.effects import Launch
from builder_framework.domain.model import Build, BuildRequest, Placement
from builder_framework.domain.states import ON_AGENT, State
from builder_framework.protocol import Outcome, Phase, Reason, Report
from builder_framework.store import rows
from tests.unit import strategies
from tests.unit.test_machine import POLICY, staging, step


class Life(RuleBasedStateMachine):
    """Any order of events, late and doubled ones included, with the invariants in between."""

    attempts = Bundle("attempts")

    @initialize(request=strategies.requests)
    def submitted(self, request: BuildRequest) -> None:
        self.now = 1000.0
        self.build = machine.step(
            None, ev.Submitted("c" * 16, request, "me"), self.now, POLICY
        ).build
        self.launched: set[int] = set()
        self.outcomes: list[State] = []
        self.last_effects: tuple[object, ...] = ()

    def feed(self, event: ev.Event) -> None:
        before = self.build
        self.now += 1.0
        result = machine.step(before, event, self.now, POLICY)
        for effect in result.effects:
            if isinstance(effect, Launch):
                assert effect.attempt not in self.launched, "an attempt was launched twice"
                self.launched.add(effect.attempt)
        if result.build.terminal and not before.terminal:
            self.outcomes.append(result.build.state)
        self.build, self.last_effects = result.build, result.effects

    @rule(placement=strategies.placements)
    def placed(self, placement: Placement) -> None:
        if self.build.state is State.QUEUED:
            self.feed(ev.Placed(placement))

    @rule(
        kind=st.sampled_from(typing.get_args(ev.TaskEvent)),
        attempt=st.integers(1, 4),
        report=strategies.reports,
        reason=st.sampled_from(Reason),
        flag=st.booleans(),
    )
    def heard(self, kind: type, attempt: int, report: Report, reason: Reason, flag: bool) -> None:
        values = {
            "attempt": attempt,
            "report": report,
            "reason": reason,
            "message": "news",
            "running": flag,
            "offer_lost": flag,
            "nonce": "n",
            "digest": f"sha256:{attempt % 2}",
            "replaces": "sha256:0" if flag else None,
        }
        fields = typing.get_type_hints(kind)
        self.feed(kind(**{name: values[name] for name in fields}))

    @rule()
    def cancelled(self) -> None:
        self.feed(ev.CancelRequested("ann"))

    @rule()
    def time_passes(self) -> None:
        timer = machine.next_timer(self.build, POLICY)
        if timer is not None:
            self.now = max(self.now, timer[0])
            self.feed(timer[1])

    @rule(kind=st.sampled_from(typing.get_args(ev.TimerEvent)))
    def a_stale_timer_fires(self, kind: type) -> None:
        self.feed(kind())

    @rule(attempt=st.integers(1, 4), offset=st.integers(0, 10**9))
    def log_moves(self, attempt: int, offset: int) -> None:
        self.feed(ev.LogStarted(attempt, offset))
        self.feed(ev.LogCompleted())

    @invariant()
    def it_ends_at_most_once(self) -> None:
        assert len(self.outcomes) <= 1
        if self.build.terminal:
            assert self.outcomes == [self.build.state]
            assert self.build.ended_at is not None
            assert self.build.stop is None
            assert (self.build.reason is None) is (self.build.state is State.SUCCEEDED)

    @invariant()
    def what_is_not_over_has_a_clock(self) -> None:
        """A build can only be stuck where no timer runs."""
        if not self.build.terminal:
            assert machine.next_timer(self.build, POLICY) is not None

    @invariant()
    def only_the_newest_attempt_is_live(self) -> None:
        build = self.build
        assert [a.number for a in build.attempts] == list(range(1, len(build.attempts) + 1))
        assert not any(attempt.live for attempt in build.attempts[:-1])
        live = build.current is not None and build.current.live
        assert live is (build.state in ON_AGENT)
        assert (build.stop is not None) is (build.state is State.CANCELLING)


Life.TestCase.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
TestLife = Life.TestCase


DIGEST = "sha256:1"
COMMIT = Report(phase=Phase.CLONING, commit="c0ffee")
DONE = Report(phase=Phase.PUSHING, outcome=Outcome.SUCCEEDED, commit="c0ffee", digest=DIGEST)
FAULT = Report(
    phase=Phase.BUILDING, outcome=Outcome.FAILED, reason=Reason.STEP_FAILED, commit="c0ffee"
)
WELL: tuple[ev.TaskEvent, ...] = (
    ev.TaskSeen(1),
    ev.TaskProgressed(1, Report(phase=Phase.STARTING)),
    ev.TaskProgressed(1, Report(phase=Phase.CLONING)),
    ev.TaskProgressed(1, COMMIT),
    ev.TaskProgressed(1, Report(phase=Phase.BUILDING, commit="c0ffee")),
    ev.TaskProgressed(1, Report(phase=Phase.PUSHING, commit="c0ffee")),
    ev.TaskSucceeded(1, DONE),
)
BADLY = (*WELL[:5], ev.TaskSeen(1, running=True), ev.TaskFailed(1, Reason.STEP_FAILED, "no", FAULT))
AWAY = (
    *WELL[1:3],
    ev.TaskUnreachable(1, "away"),
    ev.TaskSeen(1, running=True),
    *WELL[4:],
)


@pytest.mark.parametrize(
    ("trace", "state"),
    [
        (WELL, State.SUCCEEDED),
        (BADLY, State.FAILED),
        (AWAY, State.SUCCEEDED),
    ],
)
def test_all_orders_of_seven_updates_with_duplicates_end_in_the_same_row(
    trace: tuple[ev.Event, ...], state: State
) -> None:
    """5,040 orders, each update heard twice: what is stored in the end is the same."""
    ends = set()
    build = begun = staging()
    for order in itertools.permutations(trace):
        build = begun
        for event in (*order, *order):
            build = step(build, event, 50.0).build
        ends.add(repr(stored(build)))
    assert len(ends) == 1
    assert build.state is state


@pytest.mark.parametrize("place", range(7))
def test_duplicates_of_an_update_anywhere_change_nothing(place: int) -> None:
    """One update repeated between any others, in all orders of the rest."""
    for order in itertools.permutations(WELL):
        build = staging()
        for event in order:
            build = step(step(build, event, 50.0).build, order[place], 50.0).build
        assert stored(build) == stored_well(), order


def stored(build: Build) -> tuple[object, ...]:
    """What the store holds of it, but for the count of its changes."""
    row = rows.changing_row(replace(build, version=0))
    return build.request, row, *(rows.attempt_row(build.id, attempt) for attempt in build.attempts)


@functools.cache
def stored_well() -> tuple[object, ...]:
    build = staging()
    for event in WELL:
        build = step(build, event, 50.0).build
    return stored(build)
