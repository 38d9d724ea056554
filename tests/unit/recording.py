"""A cluster that only writes down what it is asked, for tests of the loop's own promises.

What Mesos does about calls is tested on a real one, in tests/integration.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builder_framework.cluster import Launch, Sandboxes, StatusUpdate, Subscribed
from builder_framework.domain.model import Attempt, Resources
from builder_framework.domain.notices import Announce, no_notices
from builder_framework.domain.offers import AgentOffer, Offer
from builder_framework.errors import NotSubscribedError, SandboxError
from builder_framework.instruments import Instruments
from builder_framework.service.builds import BuildService, Parts
from builder_framework.service.logs import LogStore
from builder_framework.service.policy import LoopPolicy
from builder_framework.store.sql import SqlStore
from tests.sealing import SEALER


class RecordingCluster:
    """`calls`: what was asked, in order, as (name, arguments)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.refuse: Exception | None = None
        self.refuse_next: Exception | None = None
        self.refused = 0
        self._changed = threading.Condition()

    def _record(self, name: str, arguments: Any) -> None:
        with self._changed:
            error, self.refuse_next = self.refuse or self.refuse_next, None
            if error is not None:
                self.refused += 1
                raise error
            self.calls.append((name, arguments))
            self._changed.notify_all()

    def wait_for(self, name: str, timeout: float = 5.0) -> Any:
        """The arguments of the first call of that name, waiting for it."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for called, arguments in self.calls:
                    if called == name:
                        return arguments
                if not self._changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"no {name} within {timeout} s: {self.calls}")

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def launch(self, agent: AgentOffer, placed: Sequence[Launch], refuse_seconds: float) -> None:
        del refuse_seconds
        self._record("launch", (agent, list(placed)))

    def decline(self, agents: Sequence[AgentOffer], refuse_seconds: float) -> None:
        self._record("decline", (list(agents), refuse_seconds))

    def revive(self) -> None:
        self._record("revive", None)

    def suppress(self) -> None:
        self._record("suppress", None)

    def kill(self, task_id: str, agent_id: str | None) -> None:
        self._record("kill", (task_id, agent_id))

    def shutdown_executor(self, executor_id: str, agent_id: str) -> None:
        self._record("shutdown", (executor_id, agent_id))

    def message(self, executor_id: str, agent_id: str, data: bytes) -> None:
        self._record("message", (executor_id, agent_id, data))

    def acknowledge(self, update: StatusUpdate) -> None:
        self._record("acknowledge", update)

    def reconcile(self, tasks: Sequence[tuple[str, str]]) -> None:
        self._record("reconcile", list(tasks))


class NoSandboxes:
    """No agent answers."""

    def read(self, _attempt: Attempt, _name: str, _offset: int) -> bytes:
        raise SandboxError("no agent in this test")


class Bench:
    """A service on a real store (SQLite in `directory`, or `url`), and the cluster it speaks to."""

    def __init__(
        self,
        directory: Path,
        policy: LoopPolicy | None = None,
        sandboxes: Sandboxes | None = None,
        announce: Announce = no_notices,
        url: str | None = None,
    ) -> None:
        self.directory = directory
        self.cluster = RecordingCluster()
        self.store = SqlStore(url or f"sqlite:///{directory / 'builder.db'}", SEALER)
        self.store.lead("bench", None)
        self.fatal: list[str] = []
        self.instruments = Instruments()
        parts = Parts(
            store=self.store,
            logs=LogStore(directory / "logs"),
            cluster=self.cluster,
            sandboxes=sandboxes or NoSandboxes(),
            subscribed=lambda: True,
            fatal=self.fatal.append,
            announce=announce,
            instruments=self.instruments,
        )
        self.ahead = 0.0
        self.service = BuildService(parts, policy or LoopPolicy(), self.clock)
        self.service.start()

    def clock(self) -> float:
        """The time, `ahead` seconds in the future."""
        return time.time() + self.ahead

    def subscribe(self) -> None:
        self.service.post(Subscribed("framework-1"))

    def close(self) -> None:
        self.service.stop()
        self.store.close()


def offer(agent: str = "a1", cpus: float = 8.0, mem: float = 8192.0) -> Offer:
    return Offer(
        id=f"offer-{agent}",
        agent_id=agent,
        hostname=agent,
        agent_url=f"http://{agent}:9",
        resources=Resources(cpus, mem, 0.0),
    )


NOT_SUBSCRIBED = NotSubscribedError("no subscription in this test")
