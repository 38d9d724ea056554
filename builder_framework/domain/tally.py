"""What is counted of a build when it ends, for operators. Pure.

The store adds it up in the transaction that ends the build: nothing is counted twice or not at all,
whatever process dies, and what retention removes stays counted.
"""

from __future__ import annotations

import bisect
import enum
import math
from dataclasses import dataclass

from builder_framework.domain.deployment import Deployment
from builder_framework.domain.model import Build
from builder_framework.protocol import Phase

BUCKETS = (
    *(1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0),
    *(1200.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0),
)
"""Upper bounds in seconds, from a build out of the cache to one that waited for a day."""

BEYOND = "+Inf"
"""Bucket of what is above all of `BUCKETS`, as Prometheus writes it."""

QUEUED = "queued"
"""The time from the request to the first attempt, beside the phases that executors tell."""
STAGING = "staging"
"""The time from the launch of the last attempt to its start."""

_TOLD = frozenset(phase.value.lower() for phase in Phase)


class Metric(str, enum.Enum):
    """ENDED: builds by state and reason. DURATION: seconds from the request to the end, by outcome.
    PHASE: seconds of one phase, by phase and outcome. DEPLOYED: seconds of a deployment, by how it
    ended.
    """

    ENDED = "ended"
    DURATION = "duration"
    PHASE = "phase"
    DEPLOYED = "deployed"


@dataclass(frozen=True)
class Tally:
    """`count` things with these labels. `bucket`: upper bound of those of a histogram, else empty;
    each is in one bucket only. `seconds`: their sum.
    """

    metric: Metric
    labels: tuple[str, ...]
    bucket: str
    count: int
    seconds: float


def ended(previous: Build | None, build: Build) -> tuple[Tally, ...]:
    """What to add when `build` takes the place of `previous`: nothing unless it ends with that."""
    if not build.terminal or previous is None or previous.terminal:
        return ()
    outcome = build.state.value.lower()
    reason = build.reason.value if build.reason is not None else ""
    found = [Tally(Metric.ENDED, (outcome, reason), "", 1, 0.0)]
    if build.ended_at is not None:
        found.append(_timed(Metric.DURATION, (outcome,), build.ended_at - build.created_at))
    found += [_timed(Metric.PHASE, (phase, outcome), took) for phase, took in phases(build).items()]
    return tuple(found)


def deployed(deployment: Deployment) -> Tally:
    """What to add when a deployment ends."""
    ended_at = deployment.created_at if deployment.ended_at is None else deployment.ended_at
    seconds = ended_at - deployment.created_at
    return _timed(Metric.DEPLOYED, (deployment.state.value.lower(),), seconds)


def phases(build: Build) -> dict[str, float]:
    """Seconds of each phase of a build that is over, as far as they are known."""
    took = {name: took for name, took in build.result.timings.items() if name in _TOLD}
    if build.attempts:
        took[QUEUED] = build.attempts[0].placed_at - build.created_at
        last = build.attempts[-1]
        if last.running_at is not None:
            took[STAGING] = last.running_at - last.placed_at
    # Clocks differ, and what executors say is only as good as they are.
    return {name: max(0.0, seconds) for name, seconds in took.items() if math.isfinite(seconds)}


def bucket(seconds: float) -> str:
    """The bucket that `seconds` are in."""
    index = bisect.bisect_left(BUCKETS, seconds)
    return str(BUCKETS[index]) if index < len(BUCKETS) else BEYOND


def _timed(metric: Metric, labels: tuple[str, ...], seconds: float) -> Tally:
    seconds = max(0.0, seconds)
    return Tally(metric, labels, bucket(seconds), 1, seconds)
