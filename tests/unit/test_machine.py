"""The machine is total, ends every build once, and never forgets a task that may run."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import replace

import pytest

from builder_framework.domain import events as ev
from builder_framework.domain import machine
from builder_framework.domain.effects import CollectLog, Kill, ShutdownExecutor
from builder_framework.domain.model import Build, BuildRequest, Placement, Resources
from builder_framework.domain.states import TERMINAL, State
from builder_framework.protocol import Phase, Reason, Report
from builder_framework.recipe import GitSource, Source

pytestmark = pytest.mark.domain

POLICY = machine.MachinePolicy()
EVENTS = typing.get_args(ev.Event)
PLACEMENT = Placement("agent", "host", "http://10.0.0.1:5051", 0, "executor", "framework")
REQUEST = BuildRequest(
    Source(GitSource("https://git.example.org/app.git")),
    ("registry.example.org/app:1",),
    timeout=100.0,
    queue_ttl=1000.0,
    resources=Resources(1.0, 512.0),
)


def step(build: Build | None, event: ev.Event, now: float = 10.0) -> machine.Step:
    return machine.step(build, event, now, POLICY)


def queued() -> Build:
    return step(None, ev.Submitted("b" * 16, REQUEST, "me"), 0.0).build


def staging() -> Build:
    return step(queued(), ev.Placed(PLACEMENT)).build


def running(phase: Phase = Phase.CLONING) -> Build:
    return step(staging(), ev.TaskProgressed(1, Report(phase=phase)), 20.0).build


def cancelling() -> Build:
    return step(running(), ev.CancelRequested("ann"), 30.0).build


def unreachable() -> Build:
    return step(running(), ev.TaskUnreachable(1), 30.0).build


def succeeded() -> Build:
    return step(running(), ev.TaskSucceeded(1, Report(digest="sha256:1")), 40.0).build


IN_STATE: dict[State, Callable[[], Build]] = {
    State.QUEUED: queued,
    State.STAGING: staging,
    State.RUNNING: running,
    State.CANCELLING: cancelling,
    State.UNREACHABLE: unreachable,
    State.SUCCEEDED: succeeded,
    State.FAILED: lambda: step(running(), ev.TaskFailed(1, Reason.STEP_FAILED, "no")).build,
    State.CANCELLED: lambda: step(cancelling(), ev.TaskKilled(1)).build,
}


def sample(kind: type) -> ev.Event:
    """An event of `kind` about attempt 1."""
    values: dict[str, object] = {
        "attempt": 1,
        "build_id": "b" * 16,
        "request": REQUEST,
        "owner": "me",
        "placement": PLACEMENT,
        "report": Report(phase=Phase.BUILDING),
        "reason": Reason.AGENT_LOST,
        "message": "it happened",
        "by": "ann",
        "offset": 0,
        "nonce": "n",
        "digest": "sha256:1",
        "replaces": None,
    }
    hints = typing.get_type_hints(kind)
    made: ev.Event = kind(**{name: values[name] for name in hints if name in values})
    return made


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", EVENTS)
def test_every_cell_of_state_and_event_is_decided(state: State, kind: type) -> None:
    """No event leaves a build in doubt: each cell has a handler or says IGNORED."""
    assert kind in machine.TABLE[state]
    build = IN_STATE[state]()
    assert build.state is state
    try:
        result = step(build, sample(kind), 50.0)
    except machine.InvalidTransitionError:
        assert kind in (ev.Submitted, ev.Placed)
    else:
        assert result.build is build or result.build.version == build.version + 1


@pytest.mark.parametrize("state", sorted(TERMINAL))
@pytest.mark.parametrize("kind", EVENTS)
def test_a_build_that_is_over_never_changes_its_outcome(state: State, kind: type) -> None:
    build = IN_STATE[state]()
    try:
        after = step(build, sample(kind), 50.0).build
    except machine.InvalidTransitionError:
        return
    assert (after.state, after.reason, after.message, after.ended_at) == (
        build.state,
        build.reason,
        build.message,
        build.ended_at,
    )


@pytest.mark.parametrize("state", [*sorted(TERMINAL), State.QUEUED])
def test_a_task_that_runs_though_it_should_not_is_killed(state: State) -> None:
    build = IN_STATE[state]()
    if state is State.QUEUED:
        build = step(staging(), ev.TaskMissing(1, "not launched")).build
        assert build.state is State.QUEUED
    effects = step(build, ev.TaskProgressed(1, Report(phase=Phase.CLONING)), 50.0).effects
    assert effects == (Kill(f"{build.id}.1", "agent"),)


def test_news_of_an_older_attempt_changes_nothing_and_ends_its_task() -> None:
    again = step(staging(), ev.TaskMissing(1, "not launched")).build
    second = step(again, ev.Placed(replace(PLACEMENT, agent_id="other"))).build
    late = step(second, ev.TaskProgressed(1, Report(phase=Phase.PUSHING)))
    assert late.build is second
    assert late.effects == (Kill(f"{second.id}.1", "agent"),)
    assert step(second, ev.TaskSucceeded(1, Report())).build is second


@pytest.mark.parametrize(
    "nowhere",
    [
        # The framework was killed between storing a placement and sending it.
        ev.TaskMissing(1, "unknown to the agent"),
        # The master had taken the offer back by then.
        ev.TaskNeverStarted(1, Reason.LAUNCH_FAILED, "no such offer", offer_lost=True),
    ],
)
def test_a_launch_that_got_nowhere_is_repeated_at_once_and_without_blame(nowhere: ev.Event) -> None:
    build = step(staging(), nowhere, 15.0).build
    assert (build.state, build.not_before, build.failures) == (State.QUEUED, 15.0, 0)
    assert not build.attempts[0].live


@pytest.mark.parametrize(
    "loss",
    [
        ev.TaskMissing(1, "gone"),
        ev.TaskLost(1, Reason.EXECUTOR_LOST, "gone"),
        ev.TaskKilled(1, "gone"),
        ev.TaskNeverStarted(1, Reason.LAUNCH_FAILED, "gone"),
        ev.TaskFailed(1, Reason.PUSH_FAILED, "gone", Report(transient=True)),
    ],
)
def test_what_the_surroundings_did_is_tried_again(loss: ev.Event) -> None:
    result = step(running(), loss, 50.0)
    build = result.build
    assert (build.state, build.failures) == (State.QUEUED, 1)
    assert build.not_before == 50.0 + POLICY.retry.first_backoff
    assert build.message == "attempt 1 failed: gone"
    assert not build.attempts[0].live
    assert result.effects == (CollectLog(build.id),)


@pytest.mark.parametrize("reason", [Reason.STEP_FAILED, Reason.GIT_REF_NOT_FOUND])
def test_what_the_build_did_is_not(reason: Reason) -> None:
    build = step(running(), ev.TaskFailed(1, reason, "no", Report())).build
    assert (build.state, build.reason) == (State.FAILED, reason)


def test_waiting_for_another_attempt_takes_queue_ttl_anew() -> None:
    """A build that ran for hours must not expire because its agent died."""
    again = step(running(), ev.TaskMissing(1, "gone"), 5000.0).build
    assert machine.next_timer(again, POLICY) == (6000.0, ev.QueueExpired())


def fails_to_start(build: Build, now: float) -> Build:
    """The build after one more attempt whose container did not start."""
    placed = step(build, ev.Placed(PLACEMENT), now).build
    never = ev.TaskNeverStarted(len(placed.attempts), Reason.LAUNCH_FAILED, "no such image")
    return step(placed, never, now).build


def test_a_container_that_never_starts_is_tried_again_later_and_given_up_in_the_end() -> None:
    build, now = queued(), 0.0
    waits = []
    while build.state is State.QUEUED:
        now = max(now, build.not_before)
        build = fails_to_start(build, now)
        waits.append(build.not_before - now)
    assert waits[:4] == [2.0, 4.0, 8.0, 16.0]
    assert POLICY.retry.launch_patience <= now < 2 * POLICY.retry.launch_patience
    assert build.reason is Reason.LAUNCH_FAILED
    assert build.message == f"no such image (tried {len(build.attempts)} times)"


def test_an_engine_that_is_away_for_a_moment_costs_no_attempt() -> None:
    """Three launches fail within seconds; the fourth runs, and only what happens to it counts."""
    build, now = queued(), 0.0
    for _ in range(3):
        now = max(now, build.not_before)
        build = fails_to_start(build, now)
    assert (build.state, build.failures) == (State.QUEUED, 0)
    assert build.message == "attempt 3 failed: no such image"
    again = step(build, ev.Placed(PLACEMENT), build.not_before).build
    ran = step(again, ev.TaskProgressed(4, Report()), build.not_before).build
    lost = step(ran, ev.TaskLost(4, Reason.EXECUTOR_LOST, "gone")).build
    assert (lost.state, lost.failures) == (State.QUEUED, 1)


def test_without_patience_every_launch_that_fails_counts() -> None:
    retry = replace(POLICY.retry, launch_patience=0.0)
    policy = replace(POLICY, retry=retry)
    failure = ev.TaskNeverStarted(1, Reason.LAUNCH_FAILED, "no such image")
    assert machine.step(staging(), failure, 20.0, policy).build.failures == 1


def test_a_cancel_that_came_too_late_tells_the_truth() -> None:
    """The image is in the registry: saying CANCELLED would be a lie."""
    build = step(cancelling(), ev.TaskSucceeded(1, Report(digest="sha256:1"))).build
    assert build.state is State.SUCCEEDED
    assert build.message == "the build had finished before it could be stopped"


def test_a_kill_is_repeated_then_the_executor_destroyed_then_given_up() -> None:
    build = cancelling()
    seen = []
    while not build.terminal:
        timer = machine.next_timer(build, POLICY)
        assert timer is not None
        result = step(build, timer[1], timer[0])
        seen.append([type(effect) for effect in result.effects])
        build = result.build
    assert seen[0] == [Kill]
    assert seen[2] == [Kill, ShutdownExecutor]
    assert seen[-1] == [Kill, CollectLog]
    assert build.state is State.CANCELLED
    assert "did not confirm its end" in (build.message or "")


def test_a_timeout_ends_as_failed_and_names_the_phase() -> None:
    build = running(Phase.PUSHING)
    timer = machine.next_timer(build, POLICY)
    assert timer == (20.0 + 100.0 + POLICY.run_slack, ev.RunExpired())
    stopping = step(build, ev.RunExpired(), timer[0])
    assert stopping.effects == (Kill(f"{build.id}.1", "agent"),)
    ended = step(stopping.build, ev.TaskKilled(1)).build
    assert (ended.state, ended.reason) == (State.FAILED, Reason.TIMEOUT)
    assert "PUSHING" in (ended.message or "")


def test_an_agent_that_comes_back_finds_its_build_as_it_was() -> None:
    back = step(unreachable(), ev.TaskSeen(1, running=True)).build
    assert (back.state, back.phase) == (State.RUNNING, Phase.CLONING)
    never_ran = step(staging(), ev.TaskUnreachable(1)).build
    assert step(never_ran, ev.TaskSeen(1)).build.state is State.STAGING


def test_what_was_learned_is_never_forgotten() -> None:
    learned = step(running(), ev.TaskProgressed(1, Report(phase=Phase.BUILDING, commit="c0ffee")))
    ended = step(learned.build, ev.TaskFailed(1, Reason.STEP_FAILED, "no", Report())).build
    assert ended.result.commit == "c0ffee"


def test_an_invalid_task_is_not_tried_again() -> None:
    """The master would refuse it again, for the same reason."""
    refusal = ev.TaskNeverStarted(1, Reason.TASK_INVALID, "uses more than was offered")
    build = step(staging(), refusal).build
    assert (build.state, build.reason) == (State.FAILED, Reason.TASK_INVALID)


def test_a_timeout_does_not_wait_for_an_unreachable_agent() -> None:
    away = unreachable()
    timers = {type(event) for event in _timers_of(away)}
    assert timers == {ev.RunExpired}
    result = step(away, ev.RunExpired(), 500.0)
    assert (result.build.state, result.build.reason) == (State.FAILED, Reason.TIMEOUT)
    assert "unreachable" in (result.build.message or "")
    assert Kill(f"{away.id}.1", "agent") in result.effects


def test_an_agent_that_stays_away_too_long_has_lost_the_build() -> None:
    away = step(staging(), ev.TaskUnreachable(1), 30.0).build
    timer = machine.next_timer(away, POLICY)
    assert timer == (30.0 + POLICY.unreachable_timeout, ev.UnreachableExpired())
    result = step(away, ev.UnreachableExpired(), timer[0])
    assert (result.build.state, result.build.attempts[0].reason) == (
        State.QUEUED,
        Reason.AGENT_LOST,
    )
    assert Kill(f"{away.id}.1", "agent") in result.effects


def test_a_task_that_does_not_start_in_time_is_stopped_and_another_tried() -> None:
    build = staging()
    timer = machine.next_timer(build, POLICY)
    assert timer == (10.0 + POLICY.staging_timeout, ev.StagingExpired())
    again = step(step(build, ev.StagingExpired(), timer[0]).build, ev.TaskKilled(1)).build
    assert (again.state, again.attempts[0].reason) == (State.QUEUED, Reason.LAUNCH_TIMEOUT)


def test_progress_while_being_stopped_is_remembered() -> None:
    """A build cancelled before its first phase still has a log to fetch, and a commit to show."""
    stopping = step(staging(), ev.CancelRequested("ann")).build
    report = Report(phase=Phase.CLONING, commit="c0ffee")
    result = step(stopping, ev.TaskProgressed(1, report))
    assert result.effects == (CollectLog(stopping.id),)
    assert (result.build.state, result.build.result.commit) == (State.CANCELLING, "c0ffee")
    assert step(result.build, ev.TaskProgressed(1, report)).build is result.build


def test_where_an_attempts_log_begins_is_said_once() -> None:
    build = step(running(), ev.LogStarted(1, 7)).build
    assert build.attempts[0].log_offset == 7
    assert step(build, ev.LogStarted(1, 9)).build is build
    assert step(build, ev.LogStarted(2, 9)).build is build


@pytest.mark.parametrize("kind", [kind for kind in EVENTS if kind is not ev.Submitted])
def test_nothing_happens_to_a_build_that_is_not_there(kind: type) -> None:
    with pytest.raises(machine.InvalidTransitionError):
        step(None, sample(kind))


@pytest.mark.parametrize("state", [State.STAGING, State.CANCELLING])
def test_a_build_in_an_impossible_shape_is_a_defect_and_says_so(state: State) -> None:
    broken = replace(queued(), state=state)
    with pytest.raises(machine.InvalidTransitionError):
        step(broken, ev.CancelRequested("ann") if state is State.STAGING else ev.KillRetryDue())
    assert state is State.CANCELLING or machine.next_timer(broken, POLICY) is None


def _timers_of(build: Build) -> list[ev.TimerEvent]:
    timer = machine.next_timer(build, POLICY)
    return [timer[1]] if timer else []


def test_news_that_says_nothing_new_changes_nothing() -> None:
    """The agent repeats updates until they are acknowledged; the store need not hear them twice."""
    build = running()
    assert step(build, ev.TaskProgressed(1, Report(phase=Phase.CLONING)), 99.0).build is build
    assert step(build, ev.TaskSeen(1), 99.0).build is build
    assert step(build, ev.TaskSeen(1, running=True), 99.0).build is build


def test_a_kill_from_outside_is_told_apart_from_ours() -> None:
    build = step(running(), ev.TaskKilled(1)).build
    assert (build.state, build.attempts[0].reason) == (State.QUEUED, Reason.KILLED_BY_OPERATOR)
    assert build.attempts[0].message == "the task was killed from outside the framework"


def test_a_cancelled_build_that_falls_to_its_surroundings_is_cancelled() -> None:
    failure = ev.TaskFailed(1, Reason.PUSH_FAILED, "503", Report(transient=True))
    assert step(cancelling(), failure).build.state is State.CANCELLED
    own = ev.TaskFailed(1, Reason.STEP_FAILED, "exit code 1", Report())
    assert step(cancelling(), own).build.state is State.FAILED


def test_who_ended_a_build_is_told() -> None:
    def why(request: ev.CancelRequested) -> tuple[Reason | None, str | None]:
        build = step(queued(), request, 30.0).build
        return build.reason, build.message

    assert why(ev.CancelRequested("ann")) == (Reason.CANCELLED, "cancelled by ann")
    unattended = (Reason.UNATTENDED, "nobody has followed it for 60 s")
    assert why(ev.CancelRequested("builder", unattended=60.0)) == unattended
