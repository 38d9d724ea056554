"""The builds that are not over, with what the loop asks of all of them ready at hand.

A turn must not cost more because many builds wait: clocks stand in a heap, who waits is sorted as
they come (`domain.waiting`), and what others hold is counted (`domain.load`).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from builder_framework.domain import avoid, machine
from builder_framework.domain.load import Held, Load
from builder_framework.domain.model import Build
from builder_framework.domain.states import ON_AGENT, State
from builder_framework.domain.supersede import group_of
from builder_framework.domain.waiting import PRIORITY_SECONDS, Need, Place, QueuedBuild, Waiting
from builder_framework.ports import BuildView, QueuePage
from builder_framework.service.policy import LoopPolicy

Describe = Callable[[Build], QueuedBuild]
"""What placing needs to know of a build that waits."""


def sharer_of(build: Build) -> str:
    """In whose name a build is placed: of its project, or else its owner's."""
    project = build.request.project
    return f"owner {build.owner}" if project is None else f"project {project}"


def place_of(build: Build) -> Place:
    """In the order of all that wait: from when on it counts as waiting, and its id."""
    return build.created_at - build.request.priority * PRIORITY_SECONDS, build.id


def described(build: Build, policy: LoopPolicy, warm: str | None) -> QueuedBuild:
    """What placing needs to know of a build that begins to wait. `warm`: URL of an agent."""
    request = build.request
    waiting_since = max(build.state_since, build.not_before)
    need = Need(
        request.resources,
        request.timeout,
        request.constraints,
        policy.executor_resources,
        policy.kind(build),
    )
    return QueuedBuild(
        build.id,
        need,
        place_of(build)[0],
        sharer_of(build),
        request.project,
        build.not_before,
        waiting_since,
        warm,
        waiting_since + policy.cache_patience,
        avoid.failed_on(build),
        waiting_since + policy.avoid.patience,
    )


def queue_page(
    waiting: Sequence[Build],
    limit: int,
    visible: tuple[str, ...] | None,
    view: Callable[[Build], BuildView],
) -> QueuePage:
    """See `ports.Builds.queue`. `waiting`: all."""
    seen = [each for each in waiting if visible is None or each.request.project in visible]
    return QueuePage(tuple(map(view, seen[:limit])), len(seen))


class HotBuilds(Mapping[str, Build]):
    """Build id -> build. Written by the loop's thread only."""

    def __init__(self, policy: machine.MachinePolicy, describe: Describe) -> None:
        self.waiting = Waiting()
        self.load = Load()
        self._policy = policy
        self._describe = describe
        self._groups: dict[str, dict[str, None]] = {}
        self._attended: dict[str, Build] = {}
        self._builds: dict[str, Build] = {}
        self._on_agent: dict[str, Build] = {}
        self._clocks: list[tuple[float, str]] = []
        self._deadlines: dict[str, float] = {}

    def __getitem__(self, build_id: str) -> Build:
        return self._builds[build_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._builds)

    def __len__(self) -> int:
        return len(self._builds)

    def put(self, build: Build, now: float) -> None:
        """Take in a build as it is now; one that is over is dropped."""
        self._count(build)
        if build.state is State.QUEUED:
            self.waiting.put(self._describe(build), now)
        else:
            self.waiting.remove(build.id)
        self._group(build)
        if build.terminal:
            for known in (self._builds, self._on_agent, self._attended, self._deadlines):
                known.pop(build.id, None)
            return
        self._builds[build.id] = build
        if build.request.attended is not None:
            self._attended[build.id] = build
        if build.state in ON_AGENT:
            self._on_agent[build.id] = build
        else:
            self._on_agent.pop(build.id, None)
        self.wind(build.id)

    def _count(self, build: Build) -> None:
        held = None
        if build.state in ON_AGENT and build.current is not None:
            place = build.current.placement
            held = Held(
                place.agent_id,
                place.slot,
                sharer_of(build),
                build.request.project,
                build.request.resources,
            )
        self.load.put(build.id, held)

    def _group(self, build: Build) -> None:
        if (name := group_of(build.request)) is None:
            return
        members = self._groups.setdefault(name, {})
        if not build.terminal:
            members[build.id] = None
            return
        members.pop(build.id, None)
        if not members:
            del self._groups[name]

    def group(self, name: str | None) -> Iterable[Build]:
        """Those that a newer build may supersede (`domain.supersede`)."""
        members = self._groups.get(name, {}) if name is not None else {}
        return [self._builds[build_id] for build_id in members]

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

    def attended(self) -> Iterable[Build]:
        """Those that somebody has to follow (`BuildRequest.attended`)."""
        return self._attended.values()

    def on_agent(self) -> Mapping[str, Build]:
        """Builds whose newest attempt may have a task."""
        return self._on_agent
