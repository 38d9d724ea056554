"""Every agent that was offered lately, as columns: what is asked of all of them is one array.

A look at ten thousand agents takes some ten microseconds this way (docs/adr/0029). Written by one
thread; others look at it while they have its `lock`.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from builder_framework.domain.model import Constraint, Resources
from builder_framework.domain.offers import AgentOffer, Offer, merge, satisfies, value_of

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

MASKS = 256
"""Constraints whose agents are remembered; one byte for each agent."""

COLUMNS = 32
"""Attributes whose values are remembered; eight bytes for each agent."""

_FIRST_ROWS = 64
_NOT_COUNTED = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Columns:
    """One row an agent; of rows without one both times are -inf.

    `cpus`, `mem`, `disk`: what is offered, or was left when that was answered. `slots`: free ones
    then. `begins`, `ends`: of the maintenance window, +inf without one. `offered_at`: when that was
    under this subscription, in seconds since the epoch; `heard_at`: or any. `open`: whether there
    are offers to be answered.
    """

    cpus: Floats
    mem: Floats
    disk: Floats
    slots: npt.NDArray[np.int64]
    gpus: Flags
    begins: Floats
    ends: Floats
    offered_at: Floats
    heard_at: Floats
    open: Flags

    def grown(self) -> Columns:
        """With twice as many rows."""
        return Columns(*(np.concatenate([c, empty]) for c, empty in self._with_empty()))

    def _with_empty(self) -> Iterable[tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]]:
        for each, empty in zip(fields(self), _EMPTY, strict=True):
            column = getattr(self, each.name)
            yield column, np.full(len(column), empty, dtype=column.dtype)


@dataclass(frozen=True)
class _Mask:
    """`upto`: how many of the changed rows it has taken in."""

    meets: Flags
    upto: int


@dataclass
class _Column:
    """`codes`: the number of its value for each row, by `values`. `upto`: as of a mask."""

    values: dict[str | None, int]
    codes: Rows
    upto: int


_EMPTY = (0.0, 0.0, 0.0, 0, False, math.inf, math.inf, -math.inf, -math.inf, False)
_TYPES = (float, float, float, np.int64, bool, float, float, float, float, bool)


def _first_columns() -> Columns:
    pairs = zip(_EMPTY, _TYPES, strict=True)
    return Columns(*(np.full(_FIRST_ROWS, empty, dtype=kind) for empty, kind in pairs))


class AgentTable:
    """Agents by rows. An agent keeps its row until it is forgotten."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.columns = _first_columns()
        self._rows: dict[str, int] = {}
        self._by_url: dict[str, int] = {}
        self._agents: list[AgentOffer | None] = [None] * _FIRST_ROWS
        self._free = list(range(_FIRST_ROWS - 1, -1, -1))
        self._of_offer: dict[str, int] = {}
        self._masks: OrderedDict[Constraint, _Mask] = OrderedDict()
        self._values: OrderedDict[str, _Column] = OrderedDict()
        self._changed: list[int] = []

    def __len__(self) -> int:
        return len(self._rows)

    # -- what comes in -------------------------------------------------------------------------

    def offer(self, received: Sequence[Offer], now: float) -> None:
        """Offers came in; what is open of the same agents already is added to them."""
        with self.lock:
            for agent in merge(received):
                first = agent.first
                row = self._row(first)
                known = self._agents[row]
                if known is not None and self.columns.open[row]:
                    # The newest first: what it says of the agent counts.
                    agent = _together((*agent.offers, *known.offers))  # noqa: PLW2901
                self._write(row, agent)
                if known is None or _named(known.first) != _named(first):
                    self._renamed(row)
                self.columns.offered_at[row] = self.columns.heard_at[row] = now
                for offer in agent.offers:
                    self._of_offer[offer.id] = row

    def rescind(self, offer_id: str) -> None:
        """An offer is void; it may have been answered already."""
        with self.lock:
            row = self._of_offer.pop(offer_id, None)
            known = None if row is None else self._agents[row]
            if row is None or known is None:
                return
            rest = tuple(offer for offer in known.offers if offer.id != offer_id)
            if rest:
                self._write(row, _together(rest))
            else:
                self.answered([row])

    def answered(self, rows: Iterable[int]) -> None:
        """Their offers are used or given back. What the columns say now is what was left."""
        with self.lock:
            for row in rows:
                self.columns.open[row] = False
                known = self._agents[row]
                for offer in known.offers if known is not None else ():
                    self._of_offer.pop(offer.id, None)

    def void(self) -> int:
        """All offers are void, and what agents lacked says nothing; how many offers that were."""
        with self.lock:
            count = len(self._of_offer)
            self._of_offer.clear()
            self.columns.open[:] = False
            self.columns.offered_at[:] = -math.inf
            return count

    def left(self, rows: Iterable[tuple[int, float, float, float, int]]) -> None:
        """What remains of each row after it was answered: cpus, mem, disk, slots."""
        columns = self.columns
        for row, cpus, mem, disk, slots in rows:
            columns.cpus[row], columns.mem[row], columns.disk[row] = cpus, mem, disk
            columns.slots[row] = slots

    def forget(self, before: float) -> None:
        """Drop agents that were last heard of before that."""
        with self.lock:
            for agent_id, row in list(self._rows.items()):
                if self.columns.heard_at[row] < before:
                    self._drop(agent_id)

    # -- what is asked -------------------------------------------------------------------------

    def row_of(self, agent_id: str) -> int | None:
        """None for an agent that is not known."""
        return self._rows.get(agent_id)

    def row_at(self, url: str) -> int | None:
        """The row of the agent with this URL."""
        return self._by_url.get(url)

    def agent(self, row: int) -> AgentOffer:
        """What it offers, or offered last. Raises LookupError for a row without an agent."""
        found = self._agents[row]
        if found is None:
            raise LookupError(f"no agent in row {row}")
        return found

    def agents(self) -> list[tuple[str, int]]:
        """Agent ids and their rows."""
        return list(self._rows.items())

    def open_rows(self) -> Rows:
        """Rows with offers to be answered."""
        return np.flatnonzero(self.columns.open)

    def allows(self, row: int, constraints: Sequence[Constraint], begin: float, end: float) -> bool:
        """Whether a build may be there from `begin` to `end`, whatever is free."""
        columns = self.columns
        soon = columns.begins[row] <= end and columns.ends[row] > begin
        if soon or columns.gpus[row]:
            return False
        return all(bool(self.meeting_one(each)[row]) for each in constraints)

    def meeting(self, constraints: Sequence[Constraint]) -> Flags:
        """Which rows meet all of the constraints."""
        found = np.ones(len(self._agents), dtype=bool)
        for constraint in constraints:
            found &= self.meeting_one(constraint)
        return found

    def meeting_one(self, constraint: Constraint) -> Flags:
        """Which rows meet it; not to be changed."""
        with self.lock:
            column = self._column(constraint.attribute)
            known = self._masks.get(constraint)
            if known is None or known.upto != column.upto or len(known.meets) != len(column.codes):
                # Each value is looked at once, however many agents have it.
                told = [satisfies(constraint, value) for value in column.values]
                meets = np.array(told, dtype=bool)[column.codes]
                known = self._masks[constraint] = _Mask(meets, column.upto)
            self._masks.move_to_end(constraint)
            if len(self._masks) > MASKS:
                self._masks.popitem(last=False)
            return known.meets

    def _column(self, attribute: str) -> _Column:
        """The attribute's value on each row, brought up to date."""
        column = self._values.get(attribute)
        if column is None:
            empty = np.zeros(0, dtype=np.intp)
            column = self._values[attribute] = _Column({None: 0}, empty, len(self._changed))
            rows: Iterable[int] = self._rows.values()
        else:
            rows = self._changed[column.upto :]
        if len(column.codes) < len(self._agents):
            more = np.zeros(len(self._agents) - len(column.codes), dtype=np.intp)
            column.codes = np.concatenate([column.codes, more])
        for row in rows:
            agent = self._agents[row]
            value = None if agent is None else value_of(attribute, agent.first)
            column.codes[row] = column.values.setdefault(value, len(column.values))
        column.upto = len(self._changed)
        self._values.move_to_end(attribute)
        if len(self._values) > COLUMNS:
            self._values.popitem(last=False)
        return column

    def _renamed(self, row: int) -> None:
        """Another agent is there, or it has other attributes."""
        self._changed.append(row)
        if len(self._changed) > 4 * len(self._agents):
            self._masks.clear()
            self._values.clear()
            self._changed.clear()

    # -- rows ----------------------------------------------------------------------------------

    def _row(self, offer: Offer) -> int:
        """Of the agent, which has one now. Registered anew it has another id under its URL."""
        row = self._rows.get(offer.agent_id)
        if row is not None:
            return row
        before = self._by_url.get(offer.agent_url)
        if before is not None:
            self._drop(self.agent(before).first.agent_id)
        if not self._free:
            self._grow()
        row = self._free.pop()
        self._rows[offer.agent_id] = self._by_url[offer.agent_url] = row
        return row

    def _grow(self) -> None:
        count = len(self._agents)
        self.columns = self.columns.grown()
        self._agents += [None] * count
        self._free = list(range(2 * count - 1, count - 1, -1))

    def _drop(self, agent_id: str) -> None:
        row = self._rows[agent_id]
        self.answered([row])
        agent = self.agent(row)
        self._by_url.pop(agent.first.agent_url, None)
        del self._rows[agent_id]
        self._agents[row] = None
        self.columns.offered_at[row] = self.columns.heard_at[row] = -math.inf
        self._free.append(row)

    def _write(self, row: int, agent: AgentOffer) -> None:
        self._agents[row] = agent
        columns, first, resources = self.columns, agent.first, agent.resources
        columns.cpus[row] = resources.cpus
        columns.mem[row] = resources.mem
        columns.disk[row] = resources.disk
        columns.slots[row] = _NOT_COUNTED
        columns.gpus[row] = first.gpus > 0
        window = first.unavailability
        columns.begins[row] = math.inf if window is None else window.start
        endless = window is None or window.duration is None
        columns.ends[row] = (
            math.inf if endless or window is None else window.start + (window.duration or 0.0)
        )
        columns.open[row] = True


def _named(offer: Offer) -> tuple[object, ...]:
    return offer.hostname, offer.attributes


def _together(offers: tuple[Offer, ...]) -> AgentOffer:
    return AgentOffer(offers, sum((offer.resources for offer in offers), Resources()))
