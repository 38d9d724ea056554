"""The only code that changes a build: `step(build, event, now) -> (build, effects)`.

Pure and total. `TABLE` decides every cell of State x Event; a cell is either a handler or IGNORED.
News of an attempt that is not the current one never reaches a handler: it is answered with a kill
when it shows a task that still runs, and is otherwise dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from builder_framework.domain import events as ev
from builder_framework.domain import leases
from builder_framework.domain import transitions as on
from builder_framework.domain.changes import (
    Handler,
    InvalidTransitionError,
    MachinePolicy,
    Step,
    is_current,
    kill,
    stop_of,
)
from builder_framework.domain.model import Build
from builder_framework.domain.states import TERMINAL, State

__all__ = [
    "IGNORED",
    "TABLE",
    "InvalidTransitionError",
    "MachinePolicy",
    "Step",
    "next_timer",
    "step",
]


def step(build: Build | None, event: ev.Event, now: float, policy: MachinePolicy) -> Step:
    """Apply `event` at time `now` (seconds since the epoch).

    Raises InvalidTransitionError for a second Submitted, for an event without a build, and for
    Placed on a build that does not wait: those are decided by us, not reported to us.
    """
    if build is None:
        if not isinstance(event, ev.Submitted):
            raise InvalidTransitionError(f"{type(event).__name__} without a build")
        return Step(
            Build(
                event.build_id,
                event.request,
                event.owner,
                created_at=now,
                state_since=now,
                supersedes=event.supersedes,
            )
        )
    if isinstance(event, ev.TaskEvent) and not is_current(build, event.attempt):
        return _stale(build, event)
    cell = TABLE[build.state][type(event)]
    if cell is None:
        return Step(build)
    result = cell(build, event, now, policy)
    if result.build is build:
        return result
    return Step(replace(result.build, version=build.version + 1), result.effects)


def _stale(build: Build, event: ev.TaskEvent) -> Step:
    """Late news of an older attempt: end its task if it runs, change nothing."""
    for attempt in build.attempts:
        if attempt.number == event.attempt:
            if isinstance(event, ev.LeaseRequested):
                return leases.refuse_stale(build, attempt, event)
            if isinstance(event, (ev.TaskSeen, ev.TaskProgressed)):
                return Step(build, (kill(attempt),))
    return Step(build)


# -- the table ---------------------------------------------------------------------------------

IGNORED = None
"""A cell whose event is late or meaningless in that state, and safely dropped."""

Row = Mapping[type[Any], "Handler | None"]

_NO_TIMERS: dict[type[Any], Handler | None] = {
    ev.QueueExpired: IGNORED,
    ev.StagingExpired: IGNORED,
    ev.RunExpired: IGNORED,
    ev.KillRetryDue: IGNORED,
    ev.StopExpired: IGNORED,
    ev.UnreachableExpired: IGNORED,
}

_QUEUED: Row = {
    # The current attempt, if any, is over: what is heard of it now is an echo, unless it runs.
    **_NO_TIMERS,
    ev.Submitted: on.cannot,
    ev.Placed: on.place,
    ev.TaskSeen: on.still_there,
    ev.TaskProgressed: on.still_there,
    ev.TaskSucceeded: on.succeeded_after_all,
    ev.TaskFailed: IGNORED,
    ev.TaskKilled: IGNORED,
    ev.TaskNeverStarted: IGNORED,
    ev.TaskLost: IGNORED,
    ev.TaskMissing: IGNORED,
    ev.TaskUnreachable: IGNORED,
    ev.LeaseRequested: leases.refuse_over,
    ev.CancelRequested: on.cancel_queued,
    ev.Joined: on.joined,
    ev.QueueExpired: on.queue_expired,
    ev.LogStarted: on.log_started,
    ev.LogCompleted: IGNORED,
}

_STAGING: Row = {
    **_NO_TIMERS,
    ev.Submitted: on.cannot,
    ev.Placed: on.cannot,
    ev.TaskSeen: on.seen,
    ev.TaskProgressed: on.progressed,
    ev.TaskSucceeded: on.succeeded,
    ev.TaskFailed: on.failed,
    ev.TaskKilled: on.killed,
    ev.TaskNeverStarted: on.never_started,
    ev.TaskLost: on.lost,
    ev.TaskMissing: on.missing,
    ev.TaskUnreachable: on.unreachable,
    ev.LeaseRequested: leases.grant,
    ev.CancelRequested: on.cancel_task,
    ev.Joined: on.joined,
    ev.StagingExpired: on.staging_expired,
    ev.LogStarted: on.log_started,
    ev.LogCompleted: IGNORED,
}

_RUNNING: Row = {
    **_STAGING,
    ev.TaskNeverStarted: on.lost,
    ev.StagingExpired: IGNORED,
    ev.RunExpired: on.run_expired,
}

_UNREACHABLE: Row = {
    **_RUNNING,
    ev.TaskSeen: on.back,
    # Asked again once the agent's own news that it is back was heard.
    ev.LeaseRequested: IGNORED,
    ev.RunExpired: on.run_expired_unreachable,
    ev.UnreachableExpired: on.unreachable_expired,
}

_CANCELLING: Row = {
    **_NO_TIMERS,
    ev.Submitted: on.cannot,
    ev.Placed: on.cannot,
    ev.TaskSeen: on.seen_cancelling,
    ev.TaskProgressed: on.progressed_cancelling,
    ev.TaskSucceeded: on.succeeded,
    ev.TaskFailed: on.failed_stopping,
    ev.TaskKilled: on.stopped,
    ev.TaskNeverStarted: on.stopped,
    ev.TaskLost: on.stopped,
    ev.TaskMissing: on.stopped,
    # The kill is repeated until the agent is back or the stop expires.
    ev.TaskUnreachable: IGNORED,
    ev.LeaseRequested: leases.refuse_stopping,
    ev.CancelRequested: IGNORED,
    ev.Joined: on.joined,
    ev.KillRetryDue: on.kill_again,
    ev.StopExpired: on.stop_expired,
    ev.LogStarted: on.log_started,
    ev.LogCompleted: IGNORED,
}

_OVER: Row = {
    **_NO_TIMERS,
    ev.Submitted: on.cannot,
    ev.Placed: on.cannot,
    ev.TaskSeen: on.still_there,
    ev.TaskProgressed: on.still_there,
    ev.TaskSucceeded: IGNORED,
    ev.TaskFailed: IGNORED,
    ev.TaskKilled: IGNORED,
    ev.TaskNeverStarted: IGNORED,
    ev.TaskLost: IGNORED,
    ev.TaskMissing: IGNORED,
    ev.TaskUnreachable: IGNORED,
    ev.LeaseRequested: leases.refuse_over,
    ev.CancelRequested: IGNORED,
    ev.Joined: on.joined,
    ev.LogStarted: on.log_started,
    ev.LogCompleted: on.log_completed,
}

TABLE: Mapping[State, Row] = {
    State.QUEUED: _QUEUED,
    State.STAGING: _STAGING,
    State.RUNNING: _RUNNING,
    State.CANCELLING: _CANCELLING,
    State.UNREACHABLE: _UNREACHABLE,
    **dict.fromkeys(TERMINAL, _OVER),
}
"""Every State x Event, decided. `docs/states.md` is generated from it."""


def next_timer(build: Build, policy: MachinePolicy) -> tuple[float, ev.TimerEvent] | None:
    """When the build's next clock runs out and what happened then; None when none runs."""
    attempt = build.current
    if build.state is State.QUEUED:
        ran = attempt is not None and attempt.running_at is not None
        since = build.state_since if ran else build.created_at
        return since + build.request.queue_ttl, ev.QueueExpired()
    if build.terminal or attempt is None:
        return None
    if build.state is State.STAGING:
        return attempt.placed_at + policy.staging_timeout, ev.StagingExpired()
    if build.state is State.CANCELLING:
        stop = stop_of(build)
        expires = stop.requested_at + policy.stop_timeout
        retry = stop.killed_at + policy.kill_retry
        return (retry, ev.KillRetryDue()) if retry < expires else (expires, ev.StopExpired())
    timers: list[tuple[float, ev.TimerEvent]] = []
    if attempt.running_at is not None:
        deadline = attempt.running_at + build.request.timeout + policy.run_slack
        timers.append((deadline, ev.RunExpired()))
    if build.state is State.UNREACHABLE:
        timers.append((build.state_since + policy.unreachable_timeout, ev.UnreachableExpired()))
    return min(timers, key=lambda timer: timer[0]) if timers else None
