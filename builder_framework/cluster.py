"""What the service hears from the cluster and asks of it, in values that know no Mesos library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from builder_framework.domain.model import Attempt, Build
from builder_framework.domain.offers import AgentOffer, Offer

IDLE_MARGIN = 60.0
"""Seconds that an idle executor lives longer than the framework counts on it."""


@dataclass(frozen=True)
class Subscribed:
    """The master accepted our subscription. Outstanding offers are void, tasks are to be asked."""

    framework_id: str


@dataclass(frozen=True)
class Disconnected:
    """The subscription ended; the driver tries again by itself."""


@dataclass(frozen=True)
class OffersReceived:
    """Resources that agents have to give now."""

    offers: tuple[Offer, ...]


@dataclass(frozen=True)
class OfferRescinded:
    """An offer is void; it may have been answered already."""

    offer_id: str


@dataclass(frozen=True)
class StatusUpdate:
    """A task's status. Only one with `uuid` is acknowledged, and only after it was stored.

    `state`, `reason` and `source` are Mesos' names: `TASK_RUNNING`, `REASON_RECONCILIATION`, …
    """

    task_id: str
    agent_id: str | None
    state: str
    reason: str | None = None
    source: str | None = None
    message: str | None = None
    data: bytes | None = None
    uuid: str | None = None


@dataclass(frozen=True)
class ExecutorMessage:
    """What an executor said outside of status updates; best effort, so it repeats itself."""

    executor_id: str
    agent_id: str
    data: bytes


@dataclass(frozen=True)
class ExecutorLost:
    """An executor has ended, in whatever way; its tasks' updates come by themselves."""

    executor_id: str
    agent_id: str


ClusterInput = (
    Subscribed
    | Disconnected
    | OffersReceived
    | OfferRescinded
    | StatusUpdate
    | ExecutorMessage
    | ExecutorLost
)


@dataclass(frozen=True)
class Launch:
    """A task to launch: the build with the attempt that was stored for it.

    `joins`: its executor was launched before, or is with an earlier one of the same call.
    """

    build: Build
    attempt: Attempt
    joins: bool = False


class Cluster(Protocol):
    """Calls to the master.

    Each raises NotSubscribedError when it was certainly not sent, and CallError when nobody
    knows. `refuse_seconds`: for how long the master shall not offer the same again.
    """

    def launch(self, agent: AgentOffer, placed: Sequence[Launch], refuse_seconds: float) -> None:
        """Accept all offers of one agent and launch the tasks on it."""
        ...

    def decline(self, agents: Sequence[AgentOffer], refuse_seconds: float) -> None:
        """Give offers back."""
        ...

    def revive(self) -> None:
        """Ask for offers again and forget all filters."""
        ...

    def suppress(self) -> None:
        """Ask for no offers."""
        ...

    def kill(self, task_id: str, agent_id: str | None) -> None:
        """Tell the executor to end a task within its grace period."""
        ...

    def shutdown_executor(self, executor_id: str, agent_id: str) -> None:
        """Tell the agent to destroy an executor."""
        ...

    def message(self, executor_id: str, agent_id: str, data: bytes) -> None:
        """Tell an executor something; best effort."""
        ...

    def acknowledge(self, update: StatusUpdate) -> None:
        """Let the agent forget an update that is stored here. Needs `uuid`."""
        ...

    def reconcile(self, tasks: Sequence[tuple[str, str]]) -> None:
        """Ask for the status of (task id, agent id)s; of every task when empty."""
        ...


class Sandboxes(Protocol):
    """Files that executors wrote on their agents."""

    def read(self, attempt: Attempt, file_name: str, offset: int) -> bytes:
        """The next piece of the file, empty at its end. Raises SandboxError."""
        ...
