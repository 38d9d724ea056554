"""States of a build: eight, three of them final."""

from __future__ import annotations

import enum


class State(str, enum.Enum):
    """Where a build is. Its phase is a detail of RUNNING, its reason one of the final states."""

    QUEUED = "QUEUED"
    STAGING = "STAGING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    UNREACHABLE = "UNREACHABLE"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
"""States that are never left."""

ON_AGENT = frozenset({State.STAGING, State.RUNNING, State.CANCELLING, State.UNREACHABLE})
"""States in which the current attempt may have a task in the cluster."""
