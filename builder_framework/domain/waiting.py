"""The builds that wait, sorted so that a decision costs the same however many there are.

Builds that are the same to every agent are one queue (`Need`), and those queues are kept for each
one who has a fair share. A build that waits for its backoff or for the agent with its cache stands
aside until then. Written by the loop's thread, read by others.
"""

from __future__ import annotations

import enum
import heapq
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from sortedcontainers import SortedList

from builder_framework.domain.model import Constraint, Resources

PRIORITY_SECONDS = 600.0
"""A build of one priority more is placed as if it had come so much earlier. So nothing starves:
whoever waits for long goes before what comes later, whatever priority that has.
"""

Place = tuple[float, str]
"""Since when a build counts as waiting, and its id: the order of builds."""


@dataclass(frozen=True)
class Need:
    """What an agent has to have for a build.

    `duration`: seconds that it may take, for maintenance windows. `executor`: what an executor
    takes on top of `resources` where none of `kind` is yet; None as kind: it always needs one of
    its own.
    """

    resources: Resources
    duration: float
    constraints: tuple[Constraint, ...] = ()
    executor: Resources = field(default_factory=Resources)
    kind: str | None = None

    @cached_property
    def whole(self) -> Resources:
        """With an executor of its own."""
        return self.resources + self.executor

    @cached_property
    def _hash(self) -> int:
        return hash((self.resources, self.duration, self.constraints, self.executor, self.kind))

    def __hash__(self) -> int:
        """Asked for many times in a decision."""
        return self._hash


@dataclass(frozen=True)
class QueuedBuild:
    """What placing needs to know of a build. Times in seconds since the epoch.

    `since`: when it came, earlier for a higher priority. `sharer`: whose share it counts for.
    `not_before`: it waits for its backoff until then. `waiting_since`: from when on offers were
    for it. `warm`: URL of the agent with the warmest cache, for which it waits until
    `patient_until`. `shunned`: ids of agents on which attempts failed lately; these and what all
    keep away from it does not take until `picky_until`.
    """

    build_id: str
    need: Need
    since: float
    sharer: str
    project: str | None = None
    not_before: float = 0.0
    waiting_since: float = 0.0
    warm: str | None = None
    patient_until: float = 0.0
    shunned: frozenset[str] = frozenset()
    picky_until: float = 0.0

    @property
    def place(self) -> Place:
        """In the order of all."""
        return self.since, self.build_id


@dataclass(frozen=True)
class Ready:
    """What one has that is ready: a queue for each need, and their heads in order."""

    queues: dict[Need, SortedList[Place]] = field(default_factory=dict)
    heads: SortedList[tuple[Place, Need]] = field(default_factory=SortedList)

    def add(self, build: QueuedBuild) -> None:
        """A build is ready."""
        queue = self.queues.get(build.need)
        if queue is None:
            queue = self.queues[build.need] = SortedList()
        before = queue[0] if queue else None
        queue.add(build.place)
        self._head_is(build.need, before, queue[0])

    def remove(self, build: QueuedBuild) -> None:
        """It is not any more."""
        queue = self.queues[build.need]
        before = queue[0]
        queue.remove(build.place)
        self._head_is(build.need, before, queue[0] if queue else None)
        if not queue:
            del self.queues[build.need]

    def _head_is(self, need: Need, before: Place | None, now: Place | None) -> None:
        if before == now:
            return
        if before is not None:
            self.heads.remove((before, need))
        if now is not None:
            self.heads.add((now, need))


class _Stage(enum.Enum):
    ASLEEP = "waits for its backoff"
    PATIENT = "waits for its cache"
    READY = "takes what fits"


class Waiting:
    """Builds by id, in order, and ready to be placed."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._builds: dict[str, QueuedBuild] = {}
        self._stages: dict[str, _Stage] = {}
        self._of_project: dict[str | None, SortedList[Place]] = {}
        self._alarms: list[tuple[float, str]] = []
        self._patient: dict[str, dict[str, None]] = {}
        self._ready: dict[str, Ready] = {}
        self._order: SortedList[Place] = SortedList()
        self._needs: Counter[Need] = Counter()
        self._shunning = 0

    # -- for any thread ------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._builds)

    def get(self, build_id: str) -> QueuedBuild | None:
        """None for a build that does not wait."""
        return self._builds.get(build_id)

    def position(self, build_id: str) -> int | None:
        """From 1, in the order of all; None for a build that does not wait."""
        with self._lock:
            build = self._builds.get(build_id)
            return None if build is None else self._order.bisect_left(build.place) + 1

    def first(
        self, limit: int, projects: Iterable[str | None] | None = None
    ) -> tuple[list[str], int]:
        """The ids of the first ones and how many there are, of these projects or of all."""
        with self._lock:
            if projects is None:
                return [build_id for _, build_id in self._order[:limit]], len(self._order)
            queues = [self._of_project[each] for each in projects if each in self._of_project]
            heads = heapq.merge(*(queue[:limit] for queue in queues))
            return [build_id for _, build_id in heads][:limit], sum(map(len, queues))

    def needs(self) -> Counter[Need]:
        """What the builds that are not asleep need, and how many do."""
        with self._lock:
            return self._needs.copy()

    # -- for the loop --------------------------------------------------------------------------

    def put(self, build: QueuedBuild, now: float) -> None:
        """Take in a build, or what is new of it."""
        with self._lock:
            self._remove(build.build_id)
            self._builds[build.build_id] = build
            self._order.add(build.place)
            self._shunning += bool(build.shunned)
            self._of_project.setdefault(build.project, SortedList()).add(build.place)
            self._sort_in(build, now)

    def remove(self, build_id: str) -> None:
        """It waits no more, if it did."""
        with self._lock:
            self._remove(build_id)

    def wake(self, now: float) -> None:
        """Those whose time has come stand aside no more."""
        with self._lock:
            while self._alarms and self._alarms[0][0] <= now:
                at, build_id = heapq.heappop(self._alarms)
                build = self._builds.get(build_id)
                if build is None or self._stages[build_id] is _Stage.READY:
                    continue
                if at in (build.not_before, build.patient_until):
                    self._leave_stage(build)
                    self._sort_in(build, now)

    def awake(self) -> bool:
        """Whether any build could be placed if only the right agent came."""
        return bool(self._needs)

    def sharers(self) -> list[str]:
        """Who has builds that are ready."""
        return list(self._ready)

    def build(self, build_id: str) -> QueuedBuild:
        """One that waits. Raises KeyError."""
        return self._builds[build_id]

    def ready(self, sharer: str) -> Ready:
        """What of one is ready. Not to be changed."""
        return self._ready[sharer]

    def patient(self) -> Iterator[tuple[str, QueuedBuild]]:
        """Builds that wait for an agent, with its URL, in order for each."""
        for url, ids in self._patient.items():
            for build_id in sorted(ids, key=lambda each: self._builds[each].place):
                yield url, self._builds[build_id]

    def any_patient(self) -> bool:
        """Whether any build waits for its cache."""
        return bool(self._patient)

    def any_shunning(self) -> bool:
        """Whether any build keeps away from an agent on which it failed."""
        return self._shunning > 0

    def impatient(self, build_id: str) -> None:
        """It takes other agents than the one with its cache, too: that will not do."""
        with self._lock:
            build = replace(self._builds[build_id], patient_until=0.0)
            self._leave_stage(build)
            self._builds[build_id] = build
            self._make_ready(build)

    # -- stages --------------------------------------------------------------------------------

    def _sort_in(self, build: QueuedBuild, now: float) -> None:
        if build.not_before > now:
            self._stages[build.build_id] = _Stage.ASLEEP
            heapq.heappush(self._alarms, (build.not_before, build.build_id))
        elif build.warm is not None and build.patient_until > now:
            self._stages[build.build_id] = _Stage.PATIENT
            self._needs[build.need] += 1
            self._patient.setdefault(build.warm, {})[build.build_id] = None
            heapq.heappush(self._alarms, (build.patient_until, build.build_id))
        else:
            self._make_ready(build)

    def _make_ready(self, build: QueuedBuild) -> None:
        self._stages[build.build_id] = _Stage.READY
        self._needs[build.need] += 1
        self._ready.setdefault(build.sharer, Ready()).add(build)

    def _remove(self, build_id: str) -> None:
        build = self._builds.get(build_id)
        if build is None:
            return
        self._leave_stage(build)
        del self._builds[build_id], self._stages[build_id]
        self._order.remove(build.place)
        self._shunning -= bool(build.shunned)
        of_project = self._of_project[build.project]
        of_project.remove(build.place)
        if not of_project:
            del self._of_project[build.project]

    def _leave_stage(self, build: QueuedBuild) -> None:
        stage = self._stages[build.build_id]
        if stage is _Stage.ASLEEP:
            return
        self._needs[build.need] -= 1
        if not self._needs[build.need]:
            del self._needs[build.need]
        if stage is _Stage.PATIENT:
            warm = build.warm or ""
            del self._patient[warm][build.build_id]
            if not self._patient[warm]:
                del self._patient[warm]
            return
        ready = self._ready[build.sharer]
        ready.remove(build)
        if not ready.queues:
            del self._ready[build.sharer]
