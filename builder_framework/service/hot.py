"""The builds that are not over, with what the loop asks of all of them ready at hand.

A turn must not cost more because many builds wait: clocks stand in a heap, the queue is sorted when
it changed, and those on agents are known by name.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence

from builder_framework.domain import machine
from builder_framework.domain.model import Build
from builder_framework.domain.states import ON_AGENT, State
from builder_framework.ports import BuildView, QueuePage


def queue_key(build: Build) -> tuple[int, float, str]:
    """Higher priority first, then who came first."""
    return -build.request.priority, build.created_at, build.id


def queue_page(
    waiting: Sequence[Build],
    limit: int,
    visible: tuple[str, ...] | None,
    view: Callable[[Build], BuildView],
) -> QueuePage:
    """See `ports.Builds.queue`. `waiting`: all, in their order."""
    seen = [each for each in waiting if visible is None or each.request.project in visible]
    return QueuePage(tuple(map(view, seen[:limit])), len(seen))


class HotBuilds(Mapping[str, Build]):
    """Build id -> build. Written by the loop's thread only."""

    def __init__(self, policy: machine.MachinePolicy) -> None:
        self._policy = policy
        self._builds: dict[str, Build] = {}
        self._on_agent: dict[str, Build] = {}
        self._clocks: list[tuple[float, str]] = []
        self._deadlines: dict[str, float] = {}
        self._queue: list[Build] | None = None
        self._positions: dict[str, int] | None = None

    def __getitem__(self, build_id: str) -> Build:
        return self._builds[build_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._builds)

    def __len__(self) -> int:
        return len(self._builds)

    def put(self, build: Build) -> None:
        """Take in a build as it is now; one that is over is dropped."""
        before = self._builds.get(build.id)
        if build.state is State.QUEUED or (before is not None and before.state is State.QUEUED):
            self._queue = self._positions = None
        if build.terminal:
            for known in (self._builds, self._on_agent, self._deadlines):
                known.pop(build.id, None)
            return
        self._builds[build.id] = build
        if build.state in ON_AGENT:
            self._on_agent[build.id] = build
        else:
            self._on_agent.pop(build.id, None)
        self.wind(build.id)

    def wind(self, build_id: str) -> None:
        """Set a build's clock (again); nothing happens for one that is not here."""
        build = self._builds.get(build_id)
        timer = None if build is None else machine.next_timer(build, self._policy)
        if timer is None:
            self._deadlines.pop(build_id, None)
        elif self._deadlines.get(build_id) != timer[0]:
            self._deadlines[build_id] = timer[0]
            heapq.heappush(self._clocks, (timer[0], build_id))

    def due(self, now: float) -> list[str]:
        """Builds whose clock ran out; each is told once, until it is wound again."""
        found = []
        while self._clocks and self._clocks[0][0] <= now:
            deadline, build_id = heapq.heappop(self._clocks)
            if self._deadlines.get(build_id) == deadline:
                del self._deadlines[build_id]
                found.append(build_id)
        return found

    def queue(self) -> list[Build]:
        """The waiting builds, in their order. Not to be changed."""
        queue = self._queue
        if queue is None:
            waiting = [build for build in self._builds.values() if build.state is State.QUEUED]
            queue = self._queue = sorted(waiting, key=queue_key)
        return queue

    def positions(self) -> Mapping[str, int]:
        """Build id -> place in the queue, from 1."""
        positions = self._positions
        if positions is None:
            numbered = enumerate(self.queue(), start=1)
            positions = self._positions = {build.id: number for number, build in numbered}
        return positions

    def on_agent(self) -> Mapping[str, Build]:
        """Builds whose newest attempt may have a task."""
        return self._on_agent
