"""What the serial loop is fed, besides what the cluster says (`cluster.ClusterInput`)."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from builder_framework.cluster import ClusterInput, Launch
from builder_framework.domain import events as ev
from builder_framework.domain.model import Build
from builder_framework.domain.offers import AgentOffer
from builder_framework.errors import BuilderError
from builder_framework.ports import Idempotency
from builder_framework.store.base import InboxItem


@dataclass
class Reply:
    """An answer that somebody waits for: a build, or an error to raise."""

    build: Build | None = None
    fresh: bool = True
    error: BuilderError | None = None
    _ready: threading.Event = field(default_factory=threading.Event)

    def resolve(self) -> None:
        """Let the waiting call go on."""
        self._ready.set()

    def wait(self, timeout: float) -> bool:
        """Whether the answer came within `timeout` seconds."""
        return self._ready.wait(timeout)


@dataclass(frozen=True)
class Submit:
    """Accept a request."""

    event: ev.Submitted
    idempotency: Idempotency | None
    reply: Reply


@dataclass(frozen=True)
class Cancel:
    """End a build."""

    build_id: str
    by: str
    reply: Reply


@dataclass(frozen=True)
class Attended:
    """Somebody follows a build."""

    build_id: str


@dataclass(frozen=True)
class Happened:
    """An event of one build, from one of the service's own helpers."""

    build_id: str
    event: ev.Event
    reply: Reply | None = None


@dataclass(frozen=True)
class LaunchUnsure:
    """Nobody knows whether the master got these launches on this agent's offers."""

    agent: AgentOffer
    launches: tuple[Launch, ...]


@dataclass(frozen=True)
class Accepted:
    """What followers wrote down for the leader. `taken` is set once the loop has seen it."""

    items: tuple[InboxItem, ...]
    taken: threading.Event = field(default_factory=threading.Event)


OwnInput = Accepted | Attended | Submit | Cancel | Happened | LaunchUnsure
Input = ClusterInput | OwnInput
