"""What each event does to a build in a state that allows it: the handlers of `machine.TABLE`.

Pure. A handler gets the build, the event, the time and the policy, and returns a `Step`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from builder_framework.domain import events as ev
from builder_framework.domain.effects import CollectLog, Effect, Kill, Launch, ShutdownExecutor
from builder_framework.domain.model import Attempt, Build, Result, Stop, task_id
from builder_framework.domain.retry import RetryPolicy, backoff, may_relaunch
from builder_framework.domain.states import State
from builder_framework.errors import BuilderError
from builder_framework.protocol import Phase, Reason, Report


@dataclass(frozen=True)
class MachinePolicy:
    """The machine's own clocks, in seconds.

    `run_slack`: how long after `timeout` the executor may take to end the build by itself, which
    tells more, before it is killed. `kills_before_shutdown`: kills without an answer after which
    the executor is destroyed.
    """

    staging_timeout: float = 600.0
    run_slack: float = 30.0
    kill_retry: float = 15.0
    kills_before_shutdown: int = 3
    stop_timeout: float = 300.0
    unreachable_timeout: float = 900.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)


class InvalidTransitionError(BuilderError):
    """An event that cannot happen to this build was fed to the machine: a defect of the caller."""

    code = "invalid_transition"


@dataclass(frozen=True)
class Step:
    """What an event led to. `build` is the same object when nothing changed."""

    build: Build
    effects: tuple[Effect, ...] = ()


Handler = Callable[[Build, Any, float, MachinePolicy], Step]


def is_current(build: Build, attempt: int) -> bool:
    """Whether `attempt` is the build's newest one."""
    return build.current is not None and build.current.number == attempt


def kill(attempt: Attempt) -> Kill:
    """The effect that ends an attempt's task."""
    return Kill(attempt.task_id, attempt.placement.agent_id)


def _attempt(build: Build) -> Attempt:
    if build.current is None:
        raise InvalidTransitionError(f"{build.state.value} without an attempt")
    return build.current


def _with_attempt(build: Build, **changes: Any) -> Build:
    return replace(build, attempts=(*build.attempts[:-1], replace(_attempt(build), **changes)))


def _move(build: Build, state: State, now: float, **changes: Any) -> Build:
    if state is not build.state:
        changes["state_since"] = now
    return replace(build, state=state, **changes)


def _learned(build: Build, report: Report | None) -> Result:
    """What is known of the result once `report` is in; nothing known is forgotten."""
    known = build.result
    if report is None:
        return known
    return Result(
        commit=report.commit or known.commit,
        digest=report.digest or known.digest,
        images=report.images or known.images,
        size=report.size if report.size is not None else known.size,
        timings=report.timings or known.timings,
    )


def _end(
    build: Build,
    state: State,
    now: float,
    reason: Reason | None,
    message: str | None,
    report: Report | None = None,
) -> Step:
    """The build is over: so is its attempt, if one is live. The rest of its log is worth having."""
    if build.current is not None and build.current.live:
        build = _with_attempt(build, ended_at=now, reason=reason, message=message)
    ended = _move(
        build,
        state,
        now,
        # The phase it was in tells where a build failed or was stopped.
        phase=None if state is State.SUCCEEDED else build.phase,
        reason=reason,
        message=message,
        result=_learned(build, report),
        stop=None,
        ended_at=now,
        log_complete=not build.attempts,
    )
    return Step(ended, (CollectLog(build.id),) if build.attempts else ())


def _and_kill(ended: Step) -> Step:
    """The task may still run; should the message get through, it ends."""
    return Step(ended.build, (kill(_attempt(ended.build)), *ended.effects))


# Handlers, in the order of a build's life.


def place(build: Build, event: ev.Placed, now: float, _: MachinePolicy) -> Step:
    number = len(build.attempts) + 1
    attempt = Attempt(number, task_id(build.id, number), event.placement, placed_at=now)
    placed = _move(build, State.STAGING, now, attempts=(*build.attempts, attempt), message=None)
    return Step(placed, (Launch(build.id, number),))


def seen(build: Build, event: ev.TaskSeen, now: float, _: MachinePolicy) -> Step:
    if not event.running:
        return Step(build)
    return _running(build, None, now)


def progressed(build: Build, event: ev.TaskProgressed, now: float, _: MachinePolicy) -> Step:
    return _running(build, event.report, now)


def _running(build: Build, report: Report | None, now: float) -> Step:
    attempt = _attempt(build)
    first = attempt.running_at is None
    changed = _with_attempt(build, running_at=now) if first else build
    phase = (report.phase if report else None) or build.phase or Phase.STARTING
    changed = _move(
        changed,
        State.RUNNING,
        now,
        phase=phase,
        result=_learned(build, report),
        launch_failures=0,
        message=None,
    )
    if changed == build:
        return Step(build)
    return Step(changed, (CollectLog(build.id),) if first else ())


def succeeded(build: Build, event: ev.TaskSucceeded, now: float, _: MachinePolicy) -> Step:
    message = "the build had finished before it could be stopped" if build.stop else None
    return _end(build, State.SUCCEEDED, now, None, message, event.report)


def back(build: Build, event: ev.TaskSeen, now: float, _: MachinePolicy) -> Step:
    """An unreachable agent answers again."""
    if event.running or _attempt(build).running_at is not None:
        return _running(build, None, now)
    return Step(_move(build, State.STAGING, now, message=None))


def failed(build: Build, event: ev.TaskFailed, now: float, _: MachinePolicy) -> Step:
    return _end(build, State.FAILED, now, event.reason, event.message, event.report)


def killed(build: Build, event: ev.TaskKilled, now: float, _: MachinePolicy) -> Step:
    """Nobody here asked for it: an operator, a drained agent, another tool."""
    message = event.message or "the task was killed from outside the framework"
    return _end(build, State.FAILED, now, Reason.KILLED_BY_OPERATOR, message, event.report)


def never_started(
    build: Build, event: ev.TaskNeverStarted, now: float, policy: MachinePolicy
) -> Step:
    failures = build.launch_failures + (0 if event.offer_lost else 1)
    if not event.offer_lost and not may_relaunch(policy.retry, failures):
        message = f"{event.message} (tried {failures} times)" if failures > 1 else event.message
        return _end(build, State.FAILED, now, event.reason, message)
    wait = 0.0 if event.offer_lost else backoff(failures)
    back = _with_attempt(build, ended_at=now, reason=event.reason, message=event.message)
    return Step(
        _move(
            back,
            State.QUEUED,
            now,
            launch_failures=failures,
            not_before=now + wait,
            message=event.message,
        )
    )


def task_invalid(build: Build, event: ev.TaskNeverStarted, now: float, p: MachinePolicy) -> Step:
    if event.reason is Reason.TASK_INVALID:
        return _end(build, State.FAILED, now, event.reason, event.message)
    return never_started(build, event, now, p)


def lost(build: Build, event: ev.TaskLost, now: float, _: MachinePolicy) -> Step:
    return _end(build, State.FAILED, now, event.reason, event.message)


def missing(build: Build, event: ev.TaskMissing, now: float, policy: MachinePolicy) -> Step:
    """Without any sign of a start the launch did not get through; otherwise the task is lost.

    The former happens when this process dies between storing a placement and sending it.
    """
    if _attempt(build).running_at is None:
        again = ev.TaskNeverStarted(
            event.attempt, Reason.LAUNCH_FAILED, event.message, offer_lost=True
        )
        return never_started(build, again, now, policy)
    return _end(build, State.FAILED, now, Reason.AGENT_LOST, event.message)


def unreachable(build: Build, event: ev.TaskUnreachable, now: float, _: MachinePolicy) -> Step:
    message = event.message or "the agent does not answer the master; waiting for it"
    return Step(_move(build, State.UNREACHABLE, now, message=message))


def cancel_queued(build: Build, event: ev.CancelRequested, now: float, _: MachinePolicy) -> Step:
    return _end(build, State.CANCELLED, now, Reason.CANCELLED, f"cancelled by {event.by}")


def cancel_task(build: Build, event: ev.CancelRequested, now: float, _: MachinePolicy) -> Step:
    stop = Stop(State.CANCELLED, Reason.CANCELLED, f"cancelled by {event.by}", now)
    return _stop(build, stop, now)


def _stop(build: Build, stop: Stop, now: float) -> Step:
    stopping = replace(stop, kills=1, killed_at=now)
    moved = _move(build, State.CANCELLING, now, stop=stopping, message=stop.message)
    return Step(moved, (kill(_attempt(build)),))


def queue_expired(build: Build, _: ev.QueueExpired, now: float, __: MachinePolicy) -> Step:
    message = f"no fitting offer within queue_ttl ({build.request.queue_ttl:g} s)"
    return _end(build, State.FAILED, now, Reason.QUEUE_EXPIRED, message)


def staging_expired(build: Build, _: ev.StagingExpired, now: float, p: MachinePolicy) -> Step:
    message = f"the task did not start within {p.staging_timeout:g} s"
    return _stop(build, Stop(State.FAILED, Reason.LAUNCH_TIMEOUT, message, now), now)


def run_expired(build: Build, _: ev.RunExpired, now: float, __: MachinePolicy) -> Step:
    return _stop(build, Stop(State.FAILED, Reason.TIMEOUT, _timeout_message(build), now), now)


def run_expired_unreachable(build: Build, _: ev.RunExpired, now: float, __: MachinePolicy) -> Step:
    message = f"{_timeout_message(build)}; its agent was unreachable"
    return _and_kill(_end(build, State.FAILED, now, Reason.TIMEOUT, message))


def _timeout_message(build: Build) -> str:
    phase = f" while {build.phase.value}" if build.phase else ""
    return f"the build took longer than its timeout of {build.request.timeout:g} s{phase}"


def stopped(build: Build, event: ev.TaskEvent, now: float, _: MachinePolicy) -> Step:
    """The task that was to end is gone: the build ends as it was meant to."""
    stop = stop_of(build)
    report = getattr(event, "report", None)
    return _end(build, stop.state, now, stop.reason, stop.message, report)


def stop_of(build: Build) -> Stop:
    if build.stop is None:
        raise InvalidTransitionError("CANCELLING without a stop")
    return build.stop


def kill_again(build: Build, _: ev.KillRetryDue, now: float, policy: MachinePolicy) -> Step:
    stop = stop_of(build)
    attempt = _attempt(build)
    effects: list[Effect] = [kill(attempt)]
    if stop.kills >= policy.kills_before_shutdown:
        place = attempt.placement
        effects.append(ShutdownExecutor(place.executor_id, place.agent_id))
    changed = replace(build, stop=replace(stop, kills=stop.kills + 1, killed_at=now))
    return Step(changed, tuple(effects))


def seen_cancelling(build: Build, event: ev.TaskSeen, now: float, _: MachinePolicy) -> Step:
    """Remember that it ran: its log is worth fetching."""
    if not event.running or _attempt(build).running_at is not None:
        return Step(build)
    return Step(_with_attempt(build, running_at=now), (CollectLog(build.id),))


def progressed_cancelling(
    build: Build, event: ev.TaskProgressed, now: float, p: MachinePolicy
) -> Step:
    seen = seen_cancelling(build, ev.TaskSeen(event.attempt, running=True), now, p)
    phase = event.report.phase or build.phase
    changed = replace(seen.build, phase=phase, result=_learned(build, event.report))
    return Step(build if changed == build else changed, seen.effects)


def stop_expired(build: Build, _: ev.StopExpired, now: float, p: MachinePolicy) -> Step:
    stop = stop_of(build)
    message = f"{stop.message}; the task did not confirm its end within {p.stop_timeout:g} s"
    return _and_kill(_end(build, stop.state, now, stop.reason, message))


def unreachable_expired(
    build: Build, _: ev.UnreachableExpired, now: float, p: MachinePolicy
) -> Step:
    message = f"the agent was unreachable for more than {p.unreachable_timeout:g} s"
    return _and_kill(_end(build, State.FAILED, now, Reason.AGENT_LOST, message))


def log_started(build: Build, event: ev.LogStarted, _: float, __: MachinePolicy) -> Step:
    if not is_current(build, event.attempt) or _attempt(build).log_offset is not None:
        return Step(build)
    return Step(_with_attempt(build, log_offset=event.offset))


def log_completed(build: Build, _: ev.LogCompleted, __: float, ___: MachinePolicy) -> Step:
    return Step(build if build.log_complete else replace(build, log_complete=True))


def still_there(build: Build, _: ev.TaskEvent, __: float, ___: MachinePolicy) -> Step:
    """A build that is over has a task that still runs: end it."""
    return Step(build, (kill(_attempt(build)),))


def cannot(build: Build, event: ev.Event, _: float, __: MachinePolicy) -> Step:
    raise InvalidTransitionError(f"{type(event).__name__} on a {build.state.value} build")
