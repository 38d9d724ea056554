"""Which build goes where: one round over what waits and what is offered.

Pure. Several builds may share an agent, and what fits nowhere stands in the way of nobody. Among
those who have a share the one with least on agents is next; of its builds the one that came first.
Every OLDEST_EACH-th placement goes to the oldest build of all instead, so that nobody who always
has more than others waits for ever.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np

from builder_framework.domain.agent_table import AgentTable, Flags, Floats
from builder_framework.domain.load import Load, cost
from builder_framework.domain.model import Constraint, Resources
from builder_framework.domain.offers import EPSILON, AgentOffer
from builder_framework.domain.waiting import Need, Place, QueuedBuild, Ready, Waiting

OLDEST_EACH = 8

_BYTES = 64 * 1024 * 1024
_FEW_HOMES = 32
_NONE = -math.inf


@dataclass(frozen=True)
class Match:
    """A build and where it goes."""

    build_id: str
    agent: AgentOffer
    slot: int


@dataclass(frozen=True)
class Surroundings:
    """What holds for a round.

    `slots`: builds that an agent may have. `executors`: (agent id, kind) of those that take further
    builds. `room`: project -> how many more of its builds may run; others have no limit. `avoided`:
    ids of agents that builds keep away from. `held`: agent id -> the build that it is kept for.
    `warm`: URL of the agent that is warm for a build now. `most`: placements.
    """

    now: float
    slots: int
    executors: AbstractSet[tuple[str, str]] = frozenset()
    room: Mapping[str, int] = field(default_factory=dict)
    avoided: AbstractSet[str] = frozenset()
    held: Mapping[str, str] = field(default_factory=dict)
    warm: Callable[[QueuedBuild], str | None] = lambda build: build.warm
    most: int = 500


@dataclass(frozen=True)
class Placed:
    """`more`: there may be more to place, only not in one round. `full`: what this framework keeps
    count of itself was short, slots or a project's limit. `limited`: projects at theirs.
    """

    matches: tuple[Match, ...]
    more: bool
    full: bool
    limited: frozenset[str]


_Wanted = tuple[Resources, tuple[Constraint, ...], float, bool, str | None]
"""An amount, constraints, a duration, whether avoided agents are, and the kind of an executor that
has to be there.
"""

_Class = tuple[Need, bool]
"""What is the same to every agent; the flag: keeps away from avoided ones."""


@dataclass
class _Scores:
    """Cpus left on each agent that takes a build, -inf where none does. `allowed`: agents that may,
    whatever is free there. `upto`: changes that were taken in.
    """

    cpus: Floats
    allowed: Flags
    upto: int


@dataclass
class _Cursor:
    """How far one's queues were tried: heads up to `at`, and then builds behind those."""

    ready: Ready
    at: int = 0
    behind: list[tuple[Place, Need]] = field(default_factory=list)
    tried: dict[Need, int] = field(default_factory=dict)

    def first(self) -> tuple[Place, Need] | None:
        heads = self.ready.heads
        head = heads[self.at] if self.at < len(heads) else None
        if not self.behind:
            return head
        return self.behind[0] if head is None else min(head, self.behind[0])

    def leave(self, first: Place) -> None:
        """Go on without the queue of this build, which is the first."""
        if self.behind and self.behind[0][0] == first:
            heapq.heappop(self.behind)
        else:
            self.at += 1

    def step(self, first: QueuedBuild) -> None:
        """Go on with the next build of this queue."""
        self.leave(first.place)
        tried = self.tried[first.need] = self.tried.get(first.need, 0) + 1
        queue = self.ready.queues[first.need]
        if tried < len(queue):
            heapq.heappush(self.behind, (queue[tried], first.need))


class Round:
    """Places what it can; neither table nor queue are changed by it, but for who waits for a cache
    that will not do.
    """

    def __init__(
        self, table: AgentTable, waiting: Waiting, load: Load, around: Surroundings, placed: int = 0
    ) -> None:
        """`placed`: builds that were placed in earlier rounds."""
        self._table, self._waiting, self._load, self._around = table, waiting, load, around
        self._placed = placed
        self.rows = rows = table.open_rows()
        self._index = {int(row): number for number, row in enumerate(rows)}
        columns = table.columns
        self.cpus, self.mem, self.disk = (
            column[rows] for column in (columns.cpus, columns.mem, columns.disk)
        )
        self._ids = [table.agent(int(row)).first.agent_id for row in rows]
        taken = [len(load.slots(agent_id)) for agent_id in self._ids]
        self.free = around.slots - np.array(taken, dtype=np.int64)
        self._avoided = np.array([each in around.avoided for each in self._ids], dtype=bool)
        self._homes: dict[str, set[int]] = {}
        number_of = {agent_id: number for number, agent_id in enumerate(self._ids)}
        self._kept = {b: number_of[a] for a, b in around.held.items() if a in number_of}
        self._held = np.zeros(len(rows), dtype=bool)
        self._held[list(self._kept.values())] = True
        for agent_id, kind in around.executors:
            if agent_id in number_of:
                self._homes.setdefault(kind, set()).add(number_of[agent_id])
        self._new_slots: dict[int, set[int]] = {}
        self._room = dict(around.room)
        self._shares: dict[str, float] = {}
        self._scores: OrderedDict[_Wanted, _Scores] = OrderedDict()
        self._most_scores = max(64, _BYTES // (9 * max(1, len(rows))))
        self._changed: list[int] = []
        self._blocked: set[_Class] = set()
        self._too_much: dict[tuple[tuple[Constraint, ...], float, bool], list[Resources]] = {}
        self._cursors: dict[str, _Cursor] = {}
        self._matches: list[Match] = []
        self._limited = False

    def run(self) -> Placed:
        """Place builds until nothing fits, or there are `most`."""
        if not len(self.rows):
            return Placed((), more=False, full=False, limited=self._at_limit())
        self._look_at_the_patient()
        turns = [(self._share(each), self._since(each), each) for each in self._waiting.sharers()]
        heapq.heapify(turns)
        while turns and len(self._matches) < self._around.most:
            if (self._placed + 1) % OLDEST_EACH == 0 and self._place_the_oldest():
                continue
            share, _, sharer = heapq.heappop(turns)
            outdated = share != self._share(sharer)  # one of the oldest was its
            if outdated or self._place_one_of(sharer):
                heapq.heappush(turns, (self._share(sharer), self._since(sharer), sharer))
        full = self._limited or bool((self.free <= 0).any())
        return Placed(tuple(self._matches), bool(turns), full, self._at_limit())

    def _at_limit(self) -> frozenset[str]:
        return frozenset(project for project, left in self._room.items() if left <= 0)

    def left(self) -> Iterator[tuple[int, float, float, float, int]]:
        """Of each agent that was offered its row, and what of it is left."""
        columns = (self.cpus, self.mem, self.disk, self.free)
        lists = (column.tolist() for column in columns)
        return zip(self.rows.tolist(), *lists, strict=True)

    # -- who is next ---------------------------------------------------------------------------

    def _share(self, sharer: str) -> float:
        return self._shares.get(sharer, self._load.share(sharer))

    def _since(self, sharer: str) -> Place:
        return self._waiting.ready(sharer).heads[0][0]

    def _look_at_the_patient(self) -> None:
        """Those whose agent is offered now, and those who wait for it in vain."""
        for url, build in list(self._waiting.patient()):
            row = self._table.row_at(url)
            number = None if row is None else self._index.get(row)
            if number is None:
                continue
            never = not self._allows_one(build, number) or self._ids[number] in build.shunned
            if never or self._fits(build.need, number):
                self._waiting.impatient(build.build_id)

    def _place_one_of(self, sharer: str) -> bool:
        """Place its first build that fits; False when none does."""
        while (head := self._head(sharer)) is not None:
            if self._place(head):
                return True
        return False

    def _place_the_oldest(self) -> bool:
        """Place the oldest build that may fit; False when it does not."""
        heads = (self._head(sharer) for sharer in self._waiting.sharers())
        oldest = min((head for head in heads if head), key=lambda head: head.place, default=None)
        return oldest is not None and self._place(oldest)

    def _head(self, sharer: str) -> QueuedBuild | None:
        """The first build of `sharer` that was not tried and may fit."""
        cursor = self._cursors.get(sharer)
        if cursor is None:
            cursor = self._cursors[sharer] = _Cursor(self._waiting.ready(sharer))
        while (first := cursor.first()) is not None:
            (_, build_id), need = first
            build = self._waiting.build(build_id)
            if self._room.get(build.project or "", 1) <= 0:
                self._limited = True
                return None
            # Its elders in this queue are as picky or less, but for those who failed lately.
            blocked = (need, False) in self._blocked or (need, self._picky(build)) in self._blocked
            if not blocked:
                return build
            cursor.leave(build.place)
        return None

    def _picky(self, build: QueuedBuild) -> bool:
        return bool(self._around.avoided) and self._around.now < build.picky_until

    # -- where it goes -------------------------------------------------------------------------

    def _place(self, build: QueuedBuild) -> bool:
        """Place a build that is the head of its queue; whether it fits anywhere."""
        number = self._choose(build)
        if number is not None:
            self._take(build, number)
        return number is not None

    def _choose(self, build: QueuedBuild) -> int | None:
        """The agent with the cache, else the one with most cpus left, so that builds spread."""
        kept = self._kept.get(build.build_id)
        if kept is not None and self._allows_one(build, kept) and self._fits(build.need, kept):
            return kept
        cls = (build.need, self._picky(build))
        scores = self._scores_of(cls)
        shunned = build.shunned if self._around.now < build.picky_until else frozenset()
        if shunned and scores is not None:
            scores = self._without(scores, shunned)
        number = self._best(build, scores) if scores is not None else None
        if number is None and shunned:
            self._step_over(build)  # others of its class may fit
        elif number is None:
            self._blocked.add(cls)
            self._remember(cls)
        return number

    def _best(self, build: QueuedBuild, scores: Floats) -> int | None:
        warm = self._around.warm(build)
        row = None if warm is None else self._table.row_at(warm)
        number = -1 if row is None else self._index.get(row, -1)
        if number < 0 or scores[number] == _NONE:
            number = int(scores.argmax())
        return number if scores[number] > _NONE else None

    def _without(self, scores: Floats, shunned: AbstractSet[str]) -> Floats:
        rest: Floats = scores.copy()
        for agent_id in shunned:
            row = self._table.row_of(agent_id)
            if row is not None and row in self._index:
                rest[self._index[row]] = _NONE
        return rest

    def _take(self, build: QueuedBuild, number: int) -> None:
        need, agent_id = build.need, self._ids[number]
        amount = self._amount(need, number)
        self.cpus[number] -= amount.cpus
        self.mem[number] -= amount.mem
        self.disk[number] -= amount.disk
        self.free[number] -= 1
        if need.kind is not None:
            self._homes.setdefault(need.kind, set()).add(number)
        new = self._new_slots.setdefault(number, set())
        used = self._load.slots(agent_id)
        slot = next(n for n in itertools.count() if n not in used and n not in new)
        new.add(slot)
        if build.project is not None and build.project in self._room:
            self._room[build.project] -= 1
        self._shares[build.sharer] = self._share(build.sharer) + cost(need.resources)
        self._changed.append(number)
        self._step_over(build)
        self._placed += 1
        agent = self._table.agent(int(self.rows[number]))
        self._matches.append(Match(build.build_id, agent, slot))

    def _step_over(self, build: QueuedBuild) -> None:
        self._cursors[build.sharer].step(build)

    # -- what fits -----------------------------------------------------------------------------

    def _scores_of(self, cls: _Class) -> Floats | None:
        """Cpus left where it fits; None when it is certain that no agent takes it."""
        need, picky = cls
        at_home = bool(need.kind is not None and self._homes.get(need.kind))
        if not at_home and self._is_too_much(cls):
            return None
        rest = (need.constraints, need.duration, picky)
        anywhere = self._current((need.whole, *rest, None))
        if not at_home:
            return anywhere.cpus
        if len(self._homes[need.kind or ""]) > _FEW_HOMES:
            at_homes = self._current((need.resources, *rest, need.kind))
            return np.maximum(anywhere.cpus, at_homes.cpus)
        found: Floats = anywhere.cpus.copy()
        for number in self._homes[need.kind or ""]:
            if anywhere.allowed[number] and self._has(need.resources, number):
                found[number] = self.cpus[number]
        return found

    def _current(self, wanted: _Wanted) -> _Scores:
        """Brought up to date."""
        scores = self._scores.get(wanted)
        if scores is None:
            scores = self._scores[wanted] = self._evaluated(wanted)
            if len(self._scores) > self._most_scores:
                self._scores.popitem(last=False)
        else:
            self._scores.move_to_end(wanted)
        amount, kind = wanted[0], wanted[4]
        for number in self._changed[scores.upto :]:
            fits = scores.allowed[number] and self._has(amount, number)
            fits = fits and (kind is None or number in self._homes[kind])
            scores.cpus[number] = self.cpus[number] if fits else _NONE
        scores.upto = len(self._changed)
        return scores

    def _evaluated(self, wanted: _Wanted) -> _Scores:
        amount, constraints, duration, picky, kind = wanted
        allowed = self._allows(constraints, duration, picky=picky) & ~self._held
        fits = allowed & self._holds(amount) & (self.free > 0)
        if kind is not None:
            at_home = np.zeros(len(fits), dtype=bool)
            at_home[list(self._homes[kind])] = True
            fits &= at_home
        return _Scores(np.where(fits, self.cpus, _NONE), allowed, len(self._changed))

    def _allows(
        self, constraints: tuple[Constraint, ...], duration: float, *, picky: bool
    ) -> Flags:
        """Where a build may be, whatever is free there."""
        columns, rows, now = self._table.columns, self.rows, self._around.now
        soon = (columns.begins[rows] <= now + duration) & (columns.ends[rows] > now)
        allowed = ~soon & ~columns.gpus[rows]
        if constraints:
            allowed &= self._table.meeting(constraints)[rows]
        return allowed & ~self._avoided if picky else allowed

    def _allows_one(self, build: QueuedBuild, number: int) -> bool:
        if self._avoided[number] and self._picky(build):
            return False
        need, now = build.need, self._around.now
        return self._table.allows(
            int(self.rows[number]), need.constraints, now, now + need.duration
        )

    def _holds(self, amount: Resources) -> Flags:
        return (
            (self.cpus + EPSILON >= amount.cpus)
            & (self.mem + EPSILON >= amount.mem)
            & (self.disk + EPSILON >= amount.disk)
        )

    def _fits(self, need: Need, number: int) -> bool:
        return self._has(self._amount(need, number), number)

    def _has(self, amount: Resources, number: int) -> bool:
        return bool(
            self.free[number] > 0
            and self.cpus[number] + EPSILON >= amount.cpus
            and self.mem[number] + EPSILON >= amount.mem
            and self.disk[number] + EPSILON >= amount.disk
        )

    def _amount(self, need: Need, number: int) -> Resources:
        """An executor that is there has its own resources already."""
        there = need.kind is not None and number in self._homes.get(need.kind, ())
        return need.resources if there else need.whole

    def _remember(self, cls: _Class) -> None:
        """What fits nowhere tells of everything that needs as much or more."""
        need, picky = cls
        signature = (need.constraints, need.duration, picky)
        more = [x for x in self._too_much.get(signature, []) if not _at_least(x, need.whole)]
        self._too_much[signature] = [*more, need.whole]

    def _is_too_much(self, cls: _Class) -> bool:
        need, picky = cls
        known = self._too_much.get((need.constraints, need.duration, picky), ())
        return any(_at_least(need.whole, each) for each in known)


def _at_least(one: Resources, other: Resources) -> bool:
    return one.cpus >= other.cpus and one.mem >= other.mem and one.disk >= other.disk


def idle_to_end(need: Need, left: Resources, idle: int, executor: Resources) -> int:
    """How many of an agent's `idle` executors, each with the resources of `executor`, would have
    to end so that the build fits in what is `left` there; 0 when it does anyway, or would not even
    so.
    """
    for number in range(idle + 1):
        if _at_least(left + Resources(EPSILON, EPSILON, EPSILON), need.whole):
            return number
        left += executor
    return 0
