"""Which agents builds keep away from for a while, because attempts failed on them.

Pure: `note` and `forgive` make the next record. Avoiding is a preference, never a ban: a build that
found no other agent within `patience` goes where it must.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from builder_framework.domain.model import Attempt, Build
from builder_framework.protocol import Reason

BLAMES_AGENT = frozenset(
    {
        Reason.DISK_FULL,
        Reason.ENGINE_FAILED,
        Reason.EXECUTOR_LOST,
        Reason.LAUNCH_FAILED,
        Reason.LAUNCH_TIMEOUT,
    }
)
"""Reasons that speak against the agent. One that was lost is not offered anyway."""

Record = Mapping[str, tuple[float, ...]]
"""Agent id -> when attempts failed there, oldest first."""


@dataclass(frozen=True)
class AvoidPolicy:
    """So many `failures` within `window` seconds make an agent avoided. `patience`: seconds that a
    build looks for another one.
    """

    failures: int = 2
    window: float = 600.0
    patience: float = 20.0


def note(record: Record, attempt: Attempt, now: float, policy: AvoidPolicy) -> Record:
    """The record after `attempt` failed on its agent."""
    if attempt.reason not in BLAMES_AGENT:
        return record
    agent_id = attempt.placement.agent_id
    recent = [at for at in record.get(agent_id, ()) if at > now - policy.window]
    return {**record, agent_id: (*recent, now)[-policy.failures :]}


def forgive(record: Record, agent_id: str) -> Record:
    """The record after a build succeeded on an agent."""
    return {known: times for known, times in record.items() if known != agent_id}


def avoided_until(record: Record, agent_id: str, now: float, policy: AvoidPolicy) -> float | None:
    """When every build stops to keep away from an agent; None when none does."""
    recent = [at for at in record.get(agent_id, ()) if at > now - policy.window]
    return recent[-policy.failures] + policy.window if len(recent) >= policy.failures else None


def avoided(record: Record, now: float, policy: AvoidPolicy) -> frozenset[str]:
    """Agents that every build keeps away from now."""
    return frozenset(
        agent_id
        for agent_id, times in record.items()
        if sum(at > now - policy.window for at in times) >= policy.failures
    )


def failed_on(build: Build) -> frozenset[str]:
    """Agents that a build keeps away from because its own attempts failed there."""
    return frozenset(a.placement.agent_id for a in build.attempts if a.reason in BLAMES_AGENT)
