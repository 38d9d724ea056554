"""How a build changes: the moves that the handlers of `transitions` and `leases` are made of.

Pure. A handler gets the build, the event, the time and the policy, and returns a `Step`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from builder_framework.domain.effects import CollectLog, Effect, Kill
from builder_framework.domain.model import Attempt, Build, Result, Stop
from builder_framework.domain.retry import RetryPolicy, backoff, is_free, may_retry, tries
from builder_framework.domain.states import State
from builder_framework.errors import BuilderError
from builder_framework.protocol import Phase, Reason, Report


@dataclass(frozen=True)
class MachinePolicy:
    """The machine's own clocks, in seconds.

    `run_slack`: how long after `timeout` the executor may take to end the build by itself, which
    tells more, before it is killed. `kills_before_shutdown`: kills without an answer after which
    the executor is destroyed. `lease_slack`: how much longer than an executor we take its lease of
    `lease_seconds` for valid.
    """

    staging_timeout: float = 600.0
    run_slack: float = 30.0
    kill_retry: float = 15.0
    kills_before_shutdown: int = 3
    stop_timeout: float = 300.0
    unreachable_timeout: float = 900.0
    lease_seconds: float = 30.0
    lease_slack: float = 5.0
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


def newest(build: Build) -> Attempt:
    """The newest attempt. Raises InvalidTransitionError where there must be one and is none."""
    if build.current is None:
        raise InvalidTransitionError(f"{build.state.value} without an attempt")
    return build.current


def stop_of(build: Build) -> Stop:
    """What a build that is being stopped will end as. Raises InvalidTransitionError."""
    if build.stop is None:
        raise InvalidTransitionError("CANCELLING without a stop")
    return build.stop


def with_attempt(build: Build, **changes: Any) -> Build:
    """The build with its newest attempt changed."""
    return replace(build, attempts=(*build.attempts[:-1], replace(newest(build), **changes)))


def move(build: Build, state: State, now: float, **changes: Any) -> Build:
    """The build in `state`, since now if it was in another."""
    if state is not build.state:
        changes["state_since"] = now
    return replace(build, state=state, **changes)


def learned(build: Build, report: Report | None) -> Result:
    """What is known of the result once `report` is in; nothing known is forgotten."""
    known = build.result
    if report is None:
        return known
    return Result(
        commit=report.commit or known.commit,
        source_digest=report.source_digest or known.source_digest,
        digest=report.digest or known.digest,
        images=report.images or known.images,
        size=report.size if report.size is not None else known.size,
        layers=report.layers if report.layers is not None else known.layers,
        steps=report.steps or known.steps,
        failed_step=report.failed_step or known.failed_step,
        timings=report.timings or known.timings,
    )


_PHASES = list(Phase)


def later(phase: Phase | None, report: Report | None) -> Phase:
    """The phase after `report`, which may be an old one that comes again."""
    told = report.phase if report else None
    return max(phase or Phase.STARTING, told or Phase.STARTING, key=_PHASES.index)


def running(build: Build, report: Report | None, now: float) -> Step:
    """The newest attempt's task runs, and `report` says on what."""
    first = newest(build).running_at is None
    changed = with_attempt(build, running_at=now) if first else build
    changed = move(
        changed,
        State.RUNNING,
        now,
        phase=later(build.phase, report),
        result=learned(build, report),
        message=None,
    )
    if changed == build:
        return Step(build)
    return Step(changed, (CollectLog(build.id),) if first else ())


def end(
    build: Build,
    state: State,
    now: float,
    reason: Reason | None,
    message: str | None,
    report: Report | None = None,
) -> Step:
    """The build is over: so is its attempt, if one is live. The rest of its log is worth having."""
    attempt = build.current
    if attempt is not None and attempt.live:
        build = with_attempt(build, ended_at=now, reason=reason, message=message)
    if attempt is not None and attempt.running_at is None and report is not None:
        # Its end overtook the news of its start.
        build = with_attempt(build, running_at=now)
    if state is not State.SUCCEEDED and build.pinned is not None:
        # The tags may have been put although nobody could say so any more.
        message = f"{message}; the image may have been published as {build.pinned}"
    ended = move(
        build,
        state,
        now,
        # The phase it was in tells where a build failed or was stopped.
        phase=None if state is State.SUCCEEDED else (report and report.phase) or build.phase,
        reason=reason,
        message=message,
        result=learned(build, report),
        stop=None,
        ended_at=now,
        log_complete=not build.attempts,
    )
    return Step(ended, (CollectLog(build.id),) if build.attempts else ())


def again(
    build: Build,
    now: float,
    reason: Reason,
    message: str,
    policy: MachinePolicy,
    *,
    report: Report | None = None,
    blame: bool = True,
) -> Step:
    """The attempt is over and the build worth another one; without any left it ends as FAILED.

    `blame`: False when nobody's fault: at once, and not counted. The next attempt waits until this
    one's lease has run out, for its task may still run.
    """
    counts = blame and not is_free(policy.retry, build, now)
    failures = build.failures + (1 if counts else 0)
    tried = tries(build)
    if counts and not may_retry(policy.retry, build, failures):
        text = f"{message} (tried {tried} times)" if tried > 1 else message
        return end(build, State.FAILED, now, reason, text, report)
    attempt = newest(build)
    wait = backoff(policy.retry, tried) if blame else 0.0
    over = with_attempt(build, ended_at=now, reason=reason, message=message)
    queued = move(
        over,
        State.QUEUED,
        now,
        phase=None,
        message=f"attempt {attempt.number} failed: {message}" if blame else message,
        result=learned(build, report),
        stop=None,
        failures=failures,
        not_before=max(now + wait, attempt.lease_until or 0.0),
    )
    return Step(queued, (CollectLog(build.id),) if attempt.running_at is not None else ())


def and_kill(ended: Step) -> Step:
    """The task may still run; should the message get through, it ends."""
    return Step(ended.build, (kill(newest(ended.build)), *ended.effects))
