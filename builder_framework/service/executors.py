"""Which executors take further builds: those that live on between builds, each for one kind.

Belongs to the serial loop. Only executors that this process launched take builds: the master
compares what they were launched with. Those of before end with their last build.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from builder_framework.cluster import IDLE_MARGIN
from builder_framework.domain.model import Attempt, Build, parse_task_id
from builder_framework.domain.retry import SURROUNDINGS
from builder_framework.ports import ExecutorView
from builder_framework.protocol import Reason

UNFIT = SURROUNDINGS | {
    Reason.DISK_FULL,
    Reason.ENGINE_FAILED,
    Reason.EXECUTOR_ERROR,
    Reason.INVALID_SPEC,
    Reason.OUT_OF_MEMORY,
}
"""What an attempt failed with when its executor had better not get another one."""

IDLE_PER_AGENT = 4
"""Idle executors that stay on an agent; each holds its own resources and an engine's memory."""

MOST_BUILDS = 200
"""Of one executor: its sandbox keeps every build's log until it ends and the agent collects it."""

Home = tuple[str, str]
"""An agent's id and the kind of builds that share an executor there."""


@dataclass
class _Executor:
    """`running`: task ids. `idle_since` counts when there are none. `builds`: how many it had."""

    id: str
    home: Home
    running: set[str] = field(default_factory=set)
    idle_since: float = 0.0
    builds: int = 0

    @property
    def agent_id(self) -> str:
        return self.home[0]


Ending = tuple[str, str]
"""An executor's id and its agent's."""


class Executors:
    """At most one executor for each home takes builds; `idle`: for how many seconds without one."""

    def __init__(self, idle: float) -> None:
        self._idle = idle
        self._open: dict[Home, _Executor] = {}
        self._by_id: dict[str, _Executor] = {}

    def recall(self, builds: Iterable[Build], now: float) -> None:
        """Take in what an earlier process launched; idle, it would keep its cache from others."""
        for build in builds:
            for attempt in build.attempts:
                ended = attempt.ended_at
                if self._idle <= 0 or (ended or now) < now - self._idle - IDLE_MARGIN:
                    continue
                place = attempt.placement
                each = self._by_id.setdefault(
                    place.executor_id, _Executor(place.executor_id, (place.agent_id, ""))
                )
                each.idle_since = max(each.idle_since, ended or 0.0)
                if attempt.live:
                    each.running.add(attempt.task_id)

    def find(self, home: Home, now: float) -> str | None:
        """The id of the executor that takes a build there."""
        found = self._open.get(home)
        return found.id if found is not None and self._lives(found, now) else None

    def homes(self, now: float) -> AbstractSet[Home]:
        """Where there is one."""
        return {home for home, each in self._open.items() if self._lives(each, now)}

    def placed(self, executor_id: str, home: Home, task_id: str) -> None:
        """A task goes to this executor, which is new or was found."""
        each = self._by_id.get(executor_id)
        if each is None:
            each = self._by_id[executor_id] = _Executor(executor_id, home)
            self._open[home] = each
        each.running.add(task_id)
        each.builds += 1
        if each.builds >= MOST_BUILDS:
            self._close(each)

    def close(self, executor_id: str) -> None:
        """It takes no more builds, and ends with its last."""
        each = self._by_id.get(executor_id)
        if each is not None:
            self._close(each)

    def ended(self, attempt: Attempt, now: float) -> None:
        """An attempt is over. After a failure of its surroundings its executor takes no more."""
        each = self._by_id.get(attempt.placement.executor_id)
        if each is None or attempt.task_id not in each.running:
            return  # the attempt may be heard of again, when its log is complete
        each.running.remove(attempt.task_id)
        each.idle_since = now
        if attempt.reason in UNFIT:
            self._close(each)

    def lost(self, executor_id: str) -> None:
        """It is gone, its agent says."""
        each = self._by_id.pop(executor_id, None)
        if each is not None:
            self._close(each)

    def surplus(self, now: float) -> list[Ending]:
        """Those that are to be told to end, and are forgotten: closed, expired or too many."""
        ending = []
        by_agent: dict[str, list[_Executor]] = {}
        for each in self._by_id.values():
            if each.running:
                continue
            if self._open.get(each.home) is not each or not self._lives(each, now):
                ending.append(each)
            else:
                by_agent.setdefault(each.agent_id, []).append(each)
        for idle in by_agent.values():
            idle.sort(key=lambda each: each.idle_since)
            ending += idle[: max(0, len(idle) - IDLE_PER_AGENT)]
        return [self._end(each) for each in ending]

    def count(self) -> tuple[int, int]:
        """How many have builds now, and how many wait for some; from any thread."""
        known = tuple(self._by_id.values())
        busy = sum(1 for each in known if each.running)
        return busy, len(known) - busy

    def views(self, now: float) -> dict[str, list[ExecutorView]]:
        """What people see of them: agent id -> its executors, by their ids."""
        found: dict[str, list[ExecutorView]] = {}
        for each in sorted(self._by_id.values(), key=lambda each: each.id):
            running = tuple(sorted(parse_task_id(task_id)[0] for task_id in list(each.running)))
            since = None if running else each.idle_since
            takes = self._open.get(each.home) is each and self._lives(each, now)
            view = ExecutorView(each.id, running, since, each.builds, takes)
            found.setdefault(each.agent_id, []).append(view)
        return found

    def idle_by_agent(self) -> Counter[str]:
        """How many idle ones each agent has."""
        return Counter(each.agent_id for each in self._by_id.values() if not each.running)

    def make_room(self, agent_id: str, number: int) -> list[Ending]:
        """The `number` that were idle there for longest, to be told to end; they are forgotten."""
        idle = sorted(self._idle_ones(agent_id), key=lambda each: each.idle_since)
        return [self._end(each) for each in idle[:number]]

    def _idle_ones(self, agent_id: str) -> Iterator[_Executor]:
        return (x for x in self._by_id.values() if x.agent_id == agent_id and not x.running)

    def _lives(self, each: _Executor, now: float) -> bool:
        return bool(each.running) or now < each.idle_since + self._idle

    def _end(self, each: _Executor) -> Ending:
        del self._by_id[each.id]
        self._close(each)
        return each.id, each.agent_id

    def _close(self, each: _Executor) -> None:
        if self._open.get(each.home) is each:
            del self._open[each.home]
