"""Which attempts are worth another one, and when.

Only an attempt that certainly never started is repeated: a task that may have run may also have
pushed, and repeating that needs fencing.
"""

from __future__ import annotations

from dataclasses import dataclass

_FIRST_BACKOFF = 1.0
_LONGEST_BACKOFF = 60.0


@dataclass(frozen=True)
class RetryPolicy:
    """`max_launch_failures`: how many times in a row a task may fail to start (≥ 1)."""

    max_launch_failures: int = 3


def may_relaunch(policy: RetryPolicy, launch_failures: int) -> bool:
    """Whether a build whose task failed to start `launch_failures` times gets another attempt."""
    return launch_failures < policy.max_launch_failures


def backoff(launch_failures: int) -> float:
    """Seconds to wait before the attempt after the given number (≥ 1) of failures."""
    return min(_FIRST_BACKOFF * 2.0 ** min(launch_failures - 1, 16), _LONGEST_BACKOFF)
