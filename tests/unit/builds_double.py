"""An in-memory `ports.Builds` whose builds are made by the real machine.

Only for what the API's tests need by hand: log bytes, agents' news, a store that fails.
"""

from __future__ import annotations

import base64
import threading
from dataclasses import replace
from types import TracebackType
from typing import Any

from builder_framework.domain import events as ev
from builder_framework.domain import words
from builder_framework.domain.announcer import Announcer
from builder_framework.domain.delivery import again
from builder_framework.domain.deployment import Deployment
from builder_framework.domain.machine import MachinePolicy, step
from builder_framework.domain.model import Build, BuildRequest, Placement, new_build_id
from builder_framework.domain.states import State
from builder_framework.errors import (
    ConflictError,
    FieldProblem,
    InvalidInputError,
    NotFoundError,
    StoreUnavailableError,
    no_build,
)
from builder_framework.ports import (
    AgentsView,
    AgentView,
    BuildView,
    DeliveryView,
    Idempotency,
    ListQuery,
    Page,
    QueuePage,
    Readiness,
    Refusal,
    Waiting,
)
from builder_framework.redact import Secret
from builder_framework.service.hot import queue_page

PLACEMENT = Placement("agent-1", "node-1", "http://10.0.0.1:5051", 0, "executor-1", "framework-1")

USER = "ann"
PASSWORD = "pässwörd-canary-€"
AUTH = (USER, PASSWORD)

BODY: dict[str, Any] = {
    "source": {"git": {"url": "https://git.example.org/app.git"}},
    "images": ["registry.example.org/app:1"],
}


class MemoryWatch:
    """See `ports.Watch`."""

    def __init__(self, builds: MemoryBuilds, build_id: str) -> None:
        self._builds = builds
        self._build_id = build_id
        self.rung = threading.Event()

    def wait(self, timeout: float) -> bool:
        rung = self.rung.wait(timeout)
        self.rung.clear()
        return rung

    def __enter__(self) -> MemoryWatch:  # noqa: PYI034
        self._builds.watches.append((self._build_id, self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._builds.watches.remove((self._build_id, self))


class MemoryBuilds:
    """See `ports.Builds`; the methods below "by hand" are the tests' own."""

    def __init__(self) -> None:
        self.builds: dict[str, Build] = {}
        self.logs: dict[str, bytes] = {}
        self.keys: dict[tuple[str, str], tuple[str, str]] = {}
        self.watches: list[tuple[str, MemoryWatch]] = []
        self.failure: BaseException | None = None
        self.ready = Readiness(True, {"mesos": "subscribed"})
        self.refusals: tuple[Refusal, ...] = ()
        self.known_agents: tuple[AgentView, ...] = ()
        self.announcer = Announcer((Secret("https://hooks.example.org/t0ken"),))
        self.sent: dict[str, DeliveryView] = {}
        self.attended: list[str] = []
        self.deployments: dict[str, Deployment] = {}
        self.read_at_most: int | None = None
        self._now = 1_700_000_000.0
        self._lock = threading.RLock()

    # -- ports.Builds ----------------------------------------------------------------------------

    def submit(
        self, request: BuildRequest, owner: str, idempotency: Idempotency | None = None
    ) -> tuple[BuildView, bool]:
        with self._lock:
            self._fail()
            if idempotency and (known := self.replayed(owner, idempotency)) is not None:
                return known, False
            build_id = new_build_id()
            self._now += 1.0
            event = ev.Submitted(build_id, request, owner)
            self._put(step(None, event, self._now, MachinePolicy()).build)
            if idempotency:
                self.keys[owner, idempotency.key] = (idempotency.fingerprint, build_id)
            return self._view(self.builds[build_id]), True

    def replayed(self, owner: str, idempotency: Idempotency) -> BuildView | None:
        with self._lock:
            self._fail()
            fingerprint, build_id = self.keys.get((owner, idempotency.key), (None, ""))
            if fingerprint is None:
                return None
            if fingerprint != idempotency.fingerprint:
                raise ConflictError("this idempotency key was used with another request")
            return self._view(self.builds[build_id])

    def get(self, build_id: str) -> BuildView:
        with self._lock:
            self._fail()
            if build_id not in self.builds:
                raise no_build(build_id)
            return self._view(self.builds[build_id])

    def list(self, query: ListQuery) -> Page:
        with self._lock:
            self._fail()
            start = 0
            if query.cursor is not None:
                try:
                    start = int(base64.urlsafe_b64decode(query.cursor))
                except ValueError:
                    problem = FieldProblem("cursor", "is not one that this server gave")
                    raise InvalidInputError([problem]) from None
            found = [build for build in reversed(self.builds.values()) if _fits(build, query)]
            end = start + query.limit
            cursor = base64.urlsafe_b64encode(str(end).encode()).decode()
            page = tuple(self._view(build) for build in found[start:end])
            return Page(page, cursor if end < len(found) else None)

    def queue(self, limit: int, visible: tuple[str, ...] | None = None) -> QueuePage:
        with self._lock:
            self._fail()
            waiting = [each for each in self.builds.values() if each.state is State.QUEUED]
            return queue_page(waiting, limit, visible, self._view)

    def agents(self) -> AgentsView:
        self._fail()
        return AgentsView(self.known_agents, 8)

    def attend(self, build_id: str) -> None:
        with self._lock:
            self.attended.append(build_id)

    def cancel(self, build_id: str, by: str) -> BuildView:
        with self._lock:
            if self.get(build_id).build.terminal:
                raise ConflictError("the build is over already")
            self.apply(build_id, ev.CancelRequested(by))
            return self.get(build_id)

    def deliveries(self, build_id: str) -> tuple[DeliveryView, ...]:
        with self._lock:
            self.get(build_id)
            return tuple(v for v in self.sent.values() if v.delivery.build_id == build_id)

    def redeliver(self, build_id: str, delivery_id: str) -> DeliveryView:
        with self._lock:
            self._fail()
            view = self.sent.get(delivery_id)
            if view is None or view.delivery.build_id != build_id:
                raise NotFoundError("there is no such delivery")
            self.sent[delivery_id] = replace(view, delivery=again(view.delivery, self._now))
            return self.sent[delivery_id]

    def read_log(self, build_id: str, offset: int, limit: int) -> bytes:
        with self._lock:
            self.get(build_id)
            most = min(limit, self.read_at_most or limit)
            return self.logs.get(build_id, b"")[offset : offset + most]

    def watch(self, build_id: str) -> MemoryWatch:
        return MemoryWatch(self, build_id)

    def readiness(self) -> Readiness:
        return self.ready

    # -- by hand ---------------------------------------------------------------------------------

    def apply(self, build_id: str, *events: ev.Event) -> None:
        """Let things happen to a build, through the machine."""
        with self._lock:
            for event in events:
                self._now += 1.0
                before = self.builds[build_id]
                self._put(step(before, event, self._now, MachinePolicy()).build)
        self.ring(build_id)

    def place(self, build_id: str) -> None:
        """A task that runs."""
        self.apply(build_id, ev.Placed(PLACEMENT), ev.TaskSeen(1, running=True))

    def write(self, build_id: str, data: bytes) -> None:
        """The log grows."""
        with self._lock:
            self.logs[build_id] = self.logs.get(build_id, b"") + data
        self.ring(build_id)

    def set(self, build_id: str, **changes: object) -> None:
        """A value that no event brings about."""
        with self._lock:
            self.builds[build_id] = replace(self.builds[build_id], **changes)  # type: ignore[arg-type]
        self.ring(build_id)

    def ring(self, build_id: str) -> None:
        """Wake those who watch."""
        for watched, watch in tuple(self.watches):
            if watched == build_id:
                watch.rung.set()

    def store_fails(self) -> None:
        """From now on the store is away."""
        self.failure = StoreUnavailableError("postgres://admin:dbpassword@db/ refused")

    def _put(self, build: Build) -> None:
        previous = self.builds.get(build.id)
        for made in self.announcer.deliveries_of(previous, build, self._now):
            self.sent[made.id] = DeliveryView(made)
        self.builds[build.id] = build

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _view(self, build: Build) -> BuildView:
        waiting = None
        if build.state is State.QUEUED:
            queue = [one.id for one in self.builds.values() if one.state is State.QUEUED]
            waiting = Waiting(queue.index(build.id) + 1, "waits for an offer", self.refusals, 2)
        deployment = self.deployments.get(build.id)
        return BuildView(build, waiting, len(self.logs.get(build.id, b"")), deployment)


def _fits(build: Build, query: ListQuery) -> bool:
    asked = build.request
    return (
        (not query.states or build.state in query.states)
        and (query.image is None or query.image in asked.images)
        and (query.git_url is None or query.git_url == asked.origin)
        and (query.owner is None or query.owner == build.owner)
        and (query.label is None or asked.labels.get(query.label[0]) == query.label[1])
        and words.fits(words.of(build), query.search)
    )
