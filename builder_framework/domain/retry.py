"""Which attempts are worth another one, and when.

Repeated is what the surroundings did: agents, executors, engines, networks, registries. What the
Dockerfile, the repository or the credentials did would only happen again. Publishing twice is kept
apart by leases (`domain.leases`), so an attempt that may still run does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass

from builder_framework.domain.model import Build
from builder_framework.protocol import Reason, Report

SURROUNDINGS = frozenset(
    {
        Reason.AGENT_LOST,
        Reason.EXECUTOR_LOST,
        # Not by us: an agent that is drained kills its tasks, and so does an executor's SHUTDOWN.
        Reason.KILLED_BY_OPERATOR,
        Reason.LAUNCH_FAILED,
        Reason.LAUNCH_TIMEOUT,
        Reason.OFFER_LOST,
        Reason.RESULT_LOST,
    }
)
"""Reasons found by the framework that say nothing about the build itself."""


@dataclass(frozen=True)
class RetryPolicy:
    """Waits in seconds. `publish_attempts`: further ones for a build whose image is in the
    registry already, because only its tags are missing. `launch_patience`: for how long tasks that
    do not even start, one after the other, cost a build none of its attempts.
    """

    first_backoff: float = 2.0
    longest_backoff: float = 120.0
    publish_attempts: int = 3
    launch_patience: float = 600.0


def is_repeatable(reason: Reason, report: Report | None) -> bool:
    """Whether a failed attempt says nothing about the next one."""
    return reason in SURROUNDINGS or (report is not None and report.transient)


def may_retry(policy: RetryPolicy, build: Build, failures: int) -> bool:
    """Whether a build of which `failures` attempts failed gets another one."""
    extra = policy.publish_attempts if build.pinned is not None else 0
    return failures < build.request.max_attempts + extra


def is_free(policy: RetryPolicy, build: Build, now: float) -> bool:
    """Whether the failure of the build's newest attempt costs it nothing.

    An engine or agent that is away fails launches within a second: were each of them counted, an
    outage of seconds would cost the build. So they are measured in time.
    """
    since = None
    for attempt in reversed(build.attempts):
        if attempt.running_at is not None:
            break
        since = attempt.placed_at
    return since is not None and now < since + policy.launch_patience


def tries(build: Build) -> int:
    """How often the build was tried, not counting offers that were gone by then."""
    return sum(attempt.reason is not Reason.OFFER_LOST for attempt in build.attempts)


def backoff(policy: RetryPolicy, failures: int) -> float:
    """Seconds to wait before the attempt after the given number (≥ 1) of failures."""
    return min(policy.first_backoff * 2.0 ** min(failures - 1, 16), policy.longest_backoff)
