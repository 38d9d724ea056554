"""`ports.Builds`: what people ask becomes inputs of the loop; what they see comes from it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from builder_framework import failpoints
from builder_framework.cluster import Cluster, Sandboxes
from builder_framework.domain import events as ev
from builder_framework.domain.model import Build, BuildRequest, new_build_id
from builder_framework.domain.notices import Announce, no_notices
from builder_framework.domain.states import TERMINAL, State
from builder_framework.errors import BuilderError, StoreUnavailableError
from builder_framework.instruments import Instruments
from builder_framework.ports import (
    AgentsView,
    BuildView,
    DeliveryView,
    Idempotency,
    ListQuery,
    Page,
    QueuePage,
    Readiness,
    Watch,
)
from builder_framework.service.collect import LogCollector, ResultFetcher
from builder_framework.service.core import Hooks, Loop
from builder_framework.service.deployments import deployment_of
from builder_framework.service.dispatch import Dispatcher
from builder_framework.service.inbox import InboxReader
from builder_framework.service.inputs import Attended, Cancel, Happened, Reply, Submit
from builder_framework.service.logs import Bell, Logs
from builder_framework.service.policy import LoopPolicy
from builder_framework.store.base import Store

log = logging.getLogger(__name__)

# Longer than the store's own patience with a locked database.
_REPLY_TIMEOUT = 20.0
_RECALLED_PAGES = 5


@dataclass(frozen=True)
class Parts:
    """What the service is made of."""

    store: Store
    logs: Logs
    cluster: Cluster
    sandboxes: Sandboxes
    subscribed: Callable[[], bool]
    fatal: Callable[[str], None]
    announce: Announce = no_notices
    instruments: Instruments = field(default_factory=Instruments)


@dataclass(frozen=True)
class Activity:
    """What the service is busy with; see `measures.Figures`."""

    executors_busy: int
    executors_idle: int
    logs_followed: int
    log_lag: float
    inputs: int


class BuildService:
    """The one object between API and cluster."""

    def __init__(self, parts: Parts, policy: LoopPolicy, clock: Callable[[], float]) -> None:
        self._parts = parts
        self._policy = policy
        self._clock = clock
        self._slots = policy.slots_per_agent
        self._bell = Bell()
        self._collector = LogCollector(
            parts.sandboxes,
            parts.logs,
            self._bell,
            self._build,
            self._apply,
            parts.instruments,
        )
        self._results = ResultFetcher(parts.sandboxes, self._apply)
        self._dispatcher = Dispatcher()
        hooks = Hooks(
            changed=self._bell.ring,
            follow_log=self._collector.follow,
            fetch_result=self._fetch_result,
            fatal=parts.fatal,
            announce=parts.announce,
            instruments=parts.instruments,
        )
        self._loop = Loop(parts.store, parts.cluster, self._dispatcher, policy, hooks, clock)
        self._inbox = InboxReader(parts.store, self._loop.post)
        self.post = self._loop.post

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Take up what the store holds. Raises StoreUnavailableError."""
        unfinished = self._parts.store.unfinished()
        self._dispatcher.start()
        self._loop.start(unfinished, self._newest())
        for build in unfinished:
            started = build.current is not None and build.current.running_at is not None
            if (build.terminal or started) and not build.log_complete:
                self._collector.follow(build.id)
        self._inbox.start()
        log.info("taken over: %d builds that are not over", len(self._loop.active))

    def _newest(self) -> list[Build]:
        """Builds that ended, the newest last: their agents are warm for the next ones."""
        query, found = ListQuery(states=tuple(TERMINAL), limit=200), []
        for _ in range(_RECALLED_PAGES):
            page, cursor = self._parts.store.list(query)
            found += page
            if cursor is None:
                break
            query = replace(query, cursor=cursor)
        return found[::-1]

    def stop(self) -> None:
        """Finish the turn at hand; builds in the cluster go on."""
        self._inbox.stop()
        self._collector.stop()
        self._loop.stop()
        self._dispatcher.stop()

    @property
    def alive(self) -> bool:
        """Whether builds are being looked after; when not, this process must end."""
        return self._loop.alive and self._dispatcher.alive and self._inbox.alive

    def activity(self) -> Activity:
        """For operators; from any thread."""
        busy, idle = self._loop.executors()
        behind = self._collector.behind()
        return Activity(busy, idle, len(behind), max(behind, default=0.0), self._loop.waiting)

    # -- ports.Builds --------------------------------------------------------------------------

    def submit(
        self, request: BuildRequest, owner: str, idempotency: Idempotency | None = None
    ) -> tuple[BuildView, bool]:
        reply = Reply()
        event = ev.Submitted(new_build_id(), request, owner)
        self._loop.post(Submit(event, idempotency, reply))
        build = self._answer(reply)
        failpoints.reach("T2.after", when=reply.fresh)
        return self._view(build), reply.fresh

    def replayed(self, owner: str, idempotency: Idempotency) -> BuildView | None:
        known = self._parts.store.known_key(owner, idempotency.key)
        if known is None:
            return None
        known.check(idempotency)
        return self.get(known.build_id)

    def get(self, build_id: str) -> BuildView:
        return self._view(self._build(build_id))

    def list(self, query: ListQuery) -> Page:
        builds, cursor = self._parts.store.list(query)
        return Page(tuple(map(self._view, builds)), cursor)

    def queue(self, limit: int, visible: tuple[str, ...] | None = None) -> QueuePage:
        active = self._loop.active
        ids, total = active.waiting.first(limit, visible)
        builds = (active.get(build_id) for build_id in ids)
        return QueuePage(tuple(self._view(build) for build in builds if build), total)

    def agents(self) -> AgentsView:
        message = None if self._loop.subscribed else "not connected to a Mesos master"
        return AgentsView(self._loop.agents(), self._slots, message)

    def cancel(self, build_id: str, by: str) -> BuildView:
        reply = Reply()
        self._loop.post(Cancel(build_id, by, reply))
        return self._view(self._answer(reply))

    def attend(self, build_id: str) -> None:
        self._loop.post(Attended(build_id))

    def deliveries(self, build_id: str) -> tuple[DeliveryView, ...]:
        self._build(build_id)
        return self._parts.store.outbox.of_build(build_id)

    def redeliver(self, build_id: str, delivery_id: str) -> DeliveryView:
        return self._parts.store.outbox.redeliver(build_id, delivery_id, self._clock())

    def read_log(self, build_id: str, offset: int, limit: int) -> bytes:
        self._build(build_id)
        return self._parts.logs.read(build_id, offset, limit)

    def watch(self, build_id: str) -> Watch:
        return self._bell.watch(build_id)

    def readiness(self) -> Readiness:
        checks = {
            "mesos": "subscribed" if self._parts.subscribed() else "not subscribed to a master",
            "loop": "running" if self.alive else "ended",
        }
        try:
            self._parts.store.ping()
            checks["store"] = "writable"
        except BuilderError as error:
            checks["store"] = error.message
        good = {"mesos": "subscribed", "loop": "running", "store": "writable"}
        return Readiness(checks == good, checks)

    # -- helpers -------------------------------------------------------------------------------

    def _answer(self, reply: Reply) -> Build:
        if not reply.wait(_REPLY_TIMEOUT):
            raise StoreUnavailableError("the framework did not answer in time; ask again")
        if reply.error is not None:
            raise reply.error
        if reply.build is None:  # pragma: no cover (resolve without an answer is a defect)
            raise StoreUnavailableError("the framework gave no answer")
        return reply.build

    def _apply(self, build_id: str, event: ev.Event) -> Build | None:
        reply = Reply()
        self._loop.post(Happened(build_id, event, reply))
        return self._answer(reply)

    def _build(self, build_id: str) -> Build:
        return self._loop.active.get(build_id) or self._parts.store.get(build_id)

    def _fetch_result(self, build_id: str, build: Build) -> None:
        if build.current is not None:
            self._results.fetch(build_id, build.current)

    def _view(self, build: Build) -> BuildView:
        waiting = None
        if build.state is State.QUEUED:
            waiting = self._loop.board.waiting(
                build,
                subscribed=self._loop.subscribed,
                now=self._clock(),
                scheduling=self._policy.scheduling(),
            )
        deployment = deployment_of(build, self._parts.store)
        return BuildView(build, waiting, self._parts.logs.size(build.id), deployment)
