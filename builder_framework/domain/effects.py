"""What must be done about an event, as values. Imperative; the service's interpreter runs them.

Effects run after the change was stored, and may run again after a restart: each is idempotent.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """Start the build's current attempt with the offers it was matched to."""

    build_id: str
    attempt: int


@dataclass(frozen=True)
class Kill:
    """Tell the task to stop; the executor has its grace period to do so."""

    task_id: str
    agent_id: str


@dataclass(frozen=True)
class ShutdownExecutor:
    """Tell the agent to destroy an executor that did not react to a kill."""

    executor_id: str
    agent_id: str


@dataclass(frozen=True)
class CollectLog:
    """Follow the current attempt's log until the build is over."""

    build_id: str


@dataclass(frozen=True)
class AnswerLease:
    """Tell an executor whether its attempt may publish, and for how many `seconds`."""

    task_id: str
    executor_id: str
    agent_id: str
    nonce: str
    granted: bool
    seconds: float = 0.0
    message: str = ""


Effect = Launch | Kill | ShutdownExecutor | CollectLog | AnswerLease
