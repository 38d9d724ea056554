"""Who may publish: an attempt puts tags only under a lease (docs/adr/0009)."""

from __future__ import annotations

from builder_framework.domain import events as ev
from builder_framework.domain.changes import (
    MachinePolicy,
    Step,
    kill,
    newest,
    running,
    stop_of,
    with_attempt,
)
from builder_framework.domain.effects import AnswerLease
from builder_framework.domain.model import Attempt, Build


def grant(build: Build, event: ev.LeaseRequested, now: float, policy: MachinePolicy) -> Step:
    """The current attempt of a build that nobody stops; the digest is pinned from here on."""
    attempt = newest(build)
    if build.pinned not in (None, event.digest, event.replaces):
        message = f"this build may only publish {build.pinned}"
        return Step(build, (_answer(attempt, event, message),))
    # A message may overtake the update that says that the task runs.
    seen = running(build, None, now)
    until = now + policy.lease_seconds + policy.lease_slack
    leased = with_attempt(seen.build, digest=event.digest, lease_until=until)
    granted = AnswerLease(
        attempt.task_id,
        attempt.placement.executor_id,
        attempt.placement.agent_id,
        event.nonce,
        granted=True,
        seconds=policy.lease_seconds,
    )
    return Step(leased, (*seen.effects, granted))


def refuse_stopping(build: Build, event: ev.LeaseRequested, _: float, __: MachinePolicy) -> Step:
    """It was told to stop before it could publish."""
    return Step(build, (_answer(newest(build), event, stop_of(build).message),))


def refuse_over(build: Build, event: ev.LeaseRequested, _: float, __: MachinePolicy) -> Step:
    """The attempt was given up, but its task runs: end it."""
    return refuse_stale(build, newest(build), event)


def refuse_stale(build: Build, attempt: Attempt, event: ev.LeaseRequested) -> Step:
    """An attempt that is not to go on."""
    return Step(build, (_answer(attempt, event, "this attempt was given up"), kill(attempt)))


def _answer(attempt: Attempt, event: ev.LeaseRequested, message: str) -> AnswerLease:
    place = attempt.placement
    return AnswerLease(
        attempt.task_id,
        place.executor_id,
        place.agent_id,
        event.nonce,
        granted=False,
        message=message,
    )
