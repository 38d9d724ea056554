"""What each event does to a build in a state that allows it: the handlers of `machine.TABLE`.

Pure; made of the moves in `changes`.
"""

from __future__ import annotations

from dataclasses import replace

from builder_framework.domain import events as ev
from builder_framework.domain.changes import (
    InvalidTransitionError,
    MachinePolicy,
    Step,
    again,
    and_kill,
    end,
    kill,
    later,
    learned,
    move,
    newest,
    running,
    stop_of,
    with_attempt,
)
from builder_framework.domain.effects import CollectLog, Effect, Launch, ShutdownExecutor
from builder_framework.domain.model import Attempt, Build, Stop, task_id
from builder_framework.domain.retry import SURROUNDINGS, is_repeatable
from builder_framework.domain.states import State
from builder_framework.protocol import Reason, Report

# Handlers, in the order of a build's life.


def place(build: Build, event: ev.Placed, now: float, _: MachinePolicy) -> Step:
    number = len(build.attempts) + 1
    attempt = Attempt(number, task_id(build.id, number), event.placement, placed_at=now)
    placed = move(build, State.STAGING, now, attempts=(*build.attempts, attempt), message=None)
    return Step(placed, (Launch(build.id, number),))


def seen(build: Build, event: ev.TaskSeen, now: float, _: MachinePolicy) -> Step:
    if not event.running:
        return Step(build)
    return running(build, None, now)


def progressed(build: Build, event: ev.TaskProgressed, now: float, _: MachinePolicy) -> Step:
    return running(build, event.report, now)


def succeeded(build: Build, event: ev.TaskSucceeded, now: float, _: MachinePolicy) -> Step:
    message = "the build had finished before it could be stopped" if build.stop else None
    return end(build, State.SUCCEEDED, now, None, message, event.report)


def back(build: Build, event: ev.TaskSeen, now: float, _: MachinePolicy) -> Step:
    """An unreachable agent answers again."""
    if event.running or newest(build).running_at is not None:
        return running(build, None, now)
    return Step(move(build, State.STAGING, now, message=None))


def succeeded_after_all(
    build: Build, event: ev.TaskSucceeded, now: float, policy: MachinePolicy
) -> Step:
    """News of an attempt that was given up, while no other was placed: it had its lease."""
    if event.report.digest is None or event.report.digest != newest(build).digest:
        return Step(build)
    return succeeded(with_attempt(build, reason=None, message=None), event, now, policy)


def failed(build: Build, event: ev.TaskFailed, now: float, policy: MachinePolicy) -> Step:
    if is_repeatable(event.reason, event.report):
        return again(build, now, event.reason, event.message, policy, report=event.report)
    return end(build, State.FAILED, now, event.reason, event.message, event.report)


def failed_stopping(build: Build, event: ev.TaskFailed, now: float, policy: MachinePolicy) -> Step:
    """It failed by itself before it could be stopped; what will not be repeated is no failure."""
    if is_repeatable(event.reason, event.report):
        return stopped(build, event, now, policy)
    return failed(build, event, now, policy)


def killed(build: Build, event: ev.TaskKilled, now: float, policy: MachinePolicy) -> Step:
    """Nobody here asked for it: a drained agent, or an operator."""
    message = event.message or "the task was killed from outside the framework"
    return again(build, now, Reason.KILLED_BY_OPERATOR, message, policy, report=event.report)


def never_started(
    build: Build, event: ev.TaskNeverStarted, now: float, policy: MachinePolicy
) -> Step:
    if event.reason is Reason.TASK_INVALID:
        return end(build, State.FAILED, now, event.reason, event.message)
    if event.offer_lost:
        return again(build, now, Reason.OFFER_LOST, event.message, policy, blame=False)
    return again(build, now, event.reason, event.message, policy)


def lost(
    build: Build, event: ev.TaskLost | ev.TaskNeverStarted, now: float, policy: MachinePolicy
) -> Step:
    return again(build, now, event.reason, event.message, policy)


def missing(build: Build, event: ev.TaskMissing, now: float, policy: MachinePolicy) -> Step:
    """Without any sign of a start the launch did not get through; otherwise the task is lost.

    The former happens when this process dies between storing a placement and sending it.
    """
    if newest(build).running_at is None:
        return again(build, now, Reason.OFFER_LOST, event.message, policy, blame=False)
    return again(build, now, Reason.AGENT_LOST, event.message, policy)


def unreachable(build: Build, event: ev.TaskUnreachable, now: float, _: MachinePolicy) -> Step:
    message = event.message or "the agent does not answer the master; waiting for it"
    return Step(move(build, State.UNREACHABLE, now, message=message))


def cancel_queued(build: Build, event: ev.CancelRequested, now: float, _: MachinePolicy) -> Step:
    return end(build, State.CANCELLED, now, *_why(event))


def cancel_task(build: Build, event: ev.CancelRequested, now: float, _: MachinePolicy) -> Step:
    return _stop(build, Stop(State.CANCELLED, *_why(event), now), now)


def _why(event: ev.CancelRequested) -> tuple[Reason, str]:
    if event.superseded_by is not None:
        return Reason.SUPERSEDED, f"superseded by build {event.superseded_by}"
    if event.unattended is not None:
        return Reason.UNATTENDED, f"nobody has followed it for {event.unattended:g} s"
    return Reason.CANCELLED, f"cancelled by {event.by}"


def _stop(build: Build, stop: Stop, now: float) -> Step:
    stopping = replace(stop, kills=1, killed_at=now)
    moved = move(build, State.CANCELLING, now, stop=stopping, message=stop.message)
    return Step(moved, (kill(newest(build)),))


def queue_expired(build: Build, _: ev.QueueExpired, now: float, __: MachinePolicy) -> Step:
    message = f"no fitting offer within queue_ttl ({build.request.queue_ttl:g} s)"
    return end(build, State.FAILED, now, Reason.QUEUE_EXPIRED, message)


def staging_expired(build: Build, _: ev.StagingExpired, now: float, p: MachinePolicy) -> Step:
    message = f"the task did not start within {p.staging_timeout:g} s"
    return _stop(build, Stop(State.FAILED, Reason.LAUNCH_TIMEOUT, message, now), now)


def run_expired(build: Build, _: ev.RunExpired, now: float, __: MachinePolicy) -> Step:
    return _stop(build, Stop(State.FAILED, Reason.TIMEOUT, _timeout_message(build), now), now)


def run_expired_unreachable(build: Build, _: ev.RunExpired, now: float, __: MachinePolicy) -> Step:
    message = f"{_timeout_message(build)}; its agent was unreachable"
    return and_kill(end(build, State.FAILED, now, Reason.TIMEOUT, message))


def _timeout_message(build: Build) -> str:
    phase = f" while {build.phase.value}" if build.phase else ""
    return f"the build took longer than its timeout of {build.request.timeout:g} s{phase}"


def stopped(build: Build, event: ev.TaskEvent, now: float, policy: MachinePolicy) -> Step:
    """The task that was to end is gone: the build ends as it was meant to."""
    return _as_meant(build, now, "", getattr(event, "report", None), policy)


def _as_meant(
    build: Build, now: float, remark: str, report: Report | None, policy: MachinePolicy
) -> Step:
    stop = stop_of(build)
    message = f"{stop.message}{remark}"
    if stop.reason in SURROUNDINGS:
        return again(build, now, stop.reason, message, policy, report=report)
    return end(build, stop.state, now, stop.reason, message, report)


def kill_again(build: Build, _: ev.KillRetryDue, now: float, policy: MachinePolicy) -> Step:
    stop = stop_of(build)
    attempt = newest(build)
    effects: list[Effect] = [kill(attempt)]
    if stop.kills >= policy.kills_before_shutdown:
        place = attempt.placement
        effects.append(ShutdownExecutor(place.executor_id, place.agent_id))
    changed = replace(build, stop=replace(stop, kills=stop.kills + 1, killed_at=now))
    return Step(changed, tuple(effects))


def seen_cancelling(build: Build, event: ev.TaskSeen, now: float, _: MachinePolicy) -> Step:
    """Remember that it ran: its log is worth fetching."""
    if not event.running or newest(build).running_at is not None:
        return Step(build)
    return Step(with_attempt(build, running_at=now), (CollectLog(build.id),))


def progressed_cancelling(
    build: Build, event: ev.TaskProgressed, now: float, p: MachinePolicy
) -> Step:
    seen = seen_cancelling(build, ev.TaskSeen(event.attempt, running=True), now, p)
    phase = later(build.phase, event.report)
    changed = replace(seen.build, phase=phase, result=learned(build, event.report))
    return Step(build if changed == build else changed, seen.effects)


def stop_expired(build: Build, _: ev.StopExpired, now: float, p: MachinePolicy) -> Step:
    remark = f"; the task did not confirm its end within {p.stop_timeout:g} s"
    return and_kill(_as_meant(build, now, remark, None, p))


def unreachable_expired(
    build: Build, _: ev.UnreachableExpired, now: float, p: MachinePolicy
) -> Step:
    message = f"the agent was unreachable for more than {p.unreachable_timeout:g} s"
    return and_kill(again(build, now, Reason.AGENT_LOST, message, p))


def log_started(build: Build, event: ev.LogStarted, _: float, __: MachinePolicy) -> Step:
    """Also of an attempt that is over: the end of its log is fetched before the next one's."""
    attempts = tuple(
        replace(attempt, log_offset=event.offset)
        if attempt.number == event.attempt and attempt.log_offset is None
        else attempt
        for attempt in build.attempts
    )
    return Step(build if attempts == build.attempts else replace(build, attempts=attempts))


def log_completed(build: Build, _: ev.LogCompleted, __: float, ___: MachinePolicy) -> Step:
    return Step(build if build.log_complete else replace(build, log_complete=True))


def still_there(build: Build, _: ev.TaskEvent, __: float, ___: MachinePolicy) -> Step:
    """A build that is over has a task that still runs: end it."""
    return Step(build, (kill(newest(build)),))


def joined(build: Build, _: ev.Joined, __: float, ___: MachinePolicy) -> Step:
    return Step(replace(build, joined=build.joined + 1))


def cannot(build: Build, event: ev.Event, _: float, __: MachinePolicy) -> Step:
    raise InvalidTransitionError(f"{type(event).__name__} on a {build.state.value} build")
