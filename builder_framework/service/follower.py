"""`ports.Builds` of a process that does not lead: it reads the store and writes down wishes.

What it accepts is as durable as with a leader; it only takes a leader to go on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType

from builder_framework import failpoints
from builder_framework.domain import events as ev
from builder_framework.domain import machine, supersede
from builder_framework.domain.model import Build, BuildRequest, new_build_id
from builder_framework.domain.notices import Announce
from builder_framework.domain.states import State
from builder_framework.errors import BuilderError, ConflictError
from builder_framework.ports import (
    AgentsView,
    BuildView,
    DeliveryView,
    Idempotency,
    ListQuery,
    Page,
    QueuePage,
    Readiness,
    Waiting,
    Watch,
)
from builder_framework.service.agents import on_agents
from builder_framework.service.deployments import deployment_of
from builder_framework.service.hot import place_of, queue_page
from builder_framework.service.logs import Logs
from builder_framework.store.base import Store

_POLL = 0.3
# The leader takes its inbox several times a second; who cancels wants to see that it happened.
_CANCEL_PATIENCE = 3.0
_LONGEST_PAGE = 1000


class Follower:
    """Answers for a leader that is somewhere else, or not there yet."""

    def __init__(
        self,
        store: Store,
        logs: Logs,
        clock: Callable[[], float],
        announce: Announce,
        dedupe_window: float = 0.0,
    ) -> None:
        self._store = store
        self._logs = logs
        self._clock = clock
        self._announce = announce
        self._dedupe_window = dedupe_window

    def submit(
        self, request: BuildRequest, owner: str, idempotency: Idempotency | None = None
    ) -> tuple[BuildView, bool]:
        group = supersede.group_of(request)
        # Who leads ends them when it takes this build over.
        known = () if group is None else self._store.unfinished()
        others = supersede.superseded(request, owner, group, known)
        event = ev.Submitted(new_build_id(), request, owner, others)
        now = self._clock()
        made = machine.step(None, event, now, machine.MachinePolicy()).build
        told = self._announce(None, made, now)
        failpoints.reach("T2.before")
        build, fresh = self._store.submit(made, idempotency, told, self._dedupe_window)
        failpoints.reach("T2.after", when=fresh)
        return self._view(build), fresh

    def replayed(self, owner: str, idempotency: Idempotency) -> BuildView | None:
        known = self._store.known_key(owner, idempotency.key)
        if known is None:
            return None
        known.check(idempotency)
        return self.get(known.build_id)

    def get(self, build_id: str) -> BuildView:
        return self._view(self._store.get(build_id))

    def list(self, query: ListQuery) -> Page:
        builds, cursor = self._store.list(query)
        return Page(tuple(self._views(builds)), cursor)

    def queue(self, limit: int, visible: tuple[str, ...] | None = None) -> QueuePage:
        waiting = [each for each in self._store.unfinished() if each.state is State.QUEUED]
        waiting.sort(key=place_of)
        numbers = {each.id: number for number, each in enumerate(waiting, start=1)}
        message = self._why()

        def view(each: Build) -> BuildView:
            waits = Waiting(numbers[each.id], message)
            return BuildView(each, waits, self._logs.size(each.id))

        return queue_page(waiting, limit, visible, view)

    def agents(self) -> AgentsView:
        found = on_agents(self._store.unfinished())
        return AgentsView(found, None, f"the rest is known to the leader: {self._leader()}")

    def cancel(self, build_id: str, by: str) -> BuildView:
        build = self._store.get(build_id)
        if build.terminal:
            raise ConflictError(f"build {build.id} is over: {build.state.value}")
        self._store.ask_cancel(build_id, by, self._clock())
        deadline = time.monotonic() + _CANCEL_PATIENCE
        while build.state not in (State.CANCELLING, State.CANCELLED) and not build.terminal:
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL / 3)
            build = self._store.get(build_id)
        return self._view(build)

    def attend(self, build_id: str) -> None:
        self._store.tell_attended(build_id, self._clock())

    def read_log(self, build_id: str, offset: int, limit: int) -> bytes:
        self._store.get(build_id)
        return self._logs.read(build_id, offset, limit)

    def deliveries(self, build_id: str) -> tuple[DeliveryView, ...]:
        self._store.get(build_id)
        return self._store.outbox.of_build(build_id)

    def redeliver(self, build_id: str, delivery_id: str) -> DeliveryView:
        self._store.get(build_id)
        return self._store.outbox.redeliver(build_id, delivery_id, self._clock())

    def watch(self, build_id: str) -> Watch:
        return PollingWatch(lambda: self._mark(build_id))

    def readiness(self) -> Readiness:
        checks = {"mesos": self._leader(), "loop": "follows"}
        try:
            self._store.ping()
            checks["store"] = "writable"
        except BuilderError as error:
            checks["store"] = error.message
        return Readiness(checks["store"] == "writable", checks)

    def _why(self) -> str:
        return f"why is known to the leader: {self._leader()}"

    def _leader(self) -> str:
        try:
            leader = self._store.leader()
        except BuilderError:
            return "not known"
        if leader is None:
            return "nobody has led yet"
        return f"{leader.holder} leads" + (f" ({leader.url})" if leader.url else "")

    def _mark(self, build_id: str) -> object:
        return self._store.get(build_id).version, self._logs.size(build_id)

    def _view(self, build: Build) -> BuildView:
        return self._views([build])[0]

    def _views(self, builds: Sequence[Build]) -> Sequence[BuildView]:
        """The queue is asked for once, and only if one of them waits in it."""
        waits: Sequence[str] = ()
        message = ""
        if any(build.state is State.QUEUED for build in builds):
            query = ListQuery(states=(State.QUEUED,), limit=_LONGEST_PAGE)
            waits = [each.id for each in sorted(self._store.list(query)[0], key=place_of)]
            message = self._why()
        positions = {build_id: number for number, build_id in enumerate(waits, start=1)}
        views = []
        for build in builds:
            waiting = None
            if build.state is State.QUEUED:
                waiting = Waiting(positions.get(build.id, len(waits) + 1), message)
            deployment = deployment_of(build, self._store)
            views.append(BuildView(build, waiting, self._logs.size(build.id), deployment))
        return views


class PollingWatch:
    """See `ports.Watch`: looks again and again, for nobody here hears of changes."""

    def __init__(self, mark: Callable[[], object]) -> None:
        self._mark = mark
        self._seen: object = None

    def wait(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while True:
            mark = self._mark()
            if mark != self._seen:
                self._seen = mark
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(_POLL, left))

    def __enter__(self) -> PollingWatch:  # noqa: PYI034 (Self needs Python 3.11)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None
