"""Agents that are kept free for a build too big for what small ones leave over.

A build that waited long, and for which an agent would have room if our own builds there ended, gets
that agent for itself: its offers are held instead of being used by others, until they suffice or
the time is over. Few agents at a time, and never for one that could not have the room even so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from builder_framework.domain.agent_table import AgentTable
from builder_framework.domain.load import Load
from builder_framework.domain.offers import EPSILON
from builder_framework.domain.waiting import Need, QueuedBuild, Waiting

AFTER = 60.0
"""Seconds that a build waits before an agent is kept for it."""

LASTING = 1800.0
"""Seconds for which it is kept at most; as long again the build gets none."""

AGENTS_EACH = 20
"""One agent of so many is kept, and one of few."""

Ours = npt.NDArray[np.float64]
"""Three lines, a column for each row of the table."""

_LOOKED_AT = 20
_EACH = 1.0


@dataclass(frozen=True)
class Hold:
    """An agent that is kept for a build; seconds since the epoch."""

    agent_id: str
    until: float


class Holds:
    """Belongs to the loop's thread."""

    def __init__(self) -> None:
        self._holds: dict[str, Hold] = {}
        self._had: dict[str, float] = {}
        self._looked = 0.0

    def agents(self) -> Mapping[str, str]:
        """Agent id -> the build that it is kept for."""
        return {hold.agent_id: build_id for build_id, hold in self._holds.items()}

    def expire(self, waiting: Waiting, now: float) -> bool:
        """Let go of agents whose build waits no more, or for which the time is over; whether any
        was.
        """
        over = [
            build_id
            for build_id, hold in self._holds.items()
            if hold.until <= now or waiting.get(build_id) is None
        ]
        for build_id in over:
            self._had[build_id] = self._holds.pop(build_id).until + LASTING
        self._had = {build_id: until for build_id, until in self._had.items() if until > now}
        return bool(over)

    def clear(self) -> None:
        """All agents are offered anew."""
        self._holds.clear()

    def keep(self, table: AgentTable, waiting: Waiting, load: Load, now: float) -> None:
        """Keep agents for builds that found none for long. Called when nothing more fits."""
        if now - self._looked < _EACH:
            return
        self._looked = now
        most, ours = 1 + len(table) // AGENTS_EACH, None
        for build in self._overdue(waiting, now):
            if len(self._holds) >= most:
                return
            ours = _ours(table, load) if ours is None else ours
            row = self._row_for(build.need, table, ours, now)
            if row is not None:
                agent_id = table.agent(row).first.agent_id
                self._holds[build.build_id] = Hold(agent_id, now + LASTING)

    def _overdue(self, waiting: Waiting, now: float) -> Iterator[QueuedBuild]:
        ids, _ = waiting.first(_LOOKED_AT)
        for build_id in ids:
            build = waiting.get(build_id)
            known = build_id in self._holds or build_id in self._had
            if build is not None and not known and build.waiting_since + AFTER <= now:
                yield build

    def _row_for(self, need: Need, table: AgentTable, ours: Ours, now: float) -> int | None:
        """The agent with most cpus free of those that would do once our builds there are over."""
        columns, whole = table.columns, need.whole
        may = table.meeting(need.constraints) & ~columns.gpus & np.isfinite(columns.offered_at)
        may &= ~((columns.begins <= now + need.duration) & (columns.ends > now))
        may &= columns.cpus + ours[0] + EPSILON >= whole.cpus
        may &= columns.mem + ours[1] + EPSILON >= whole.mem
        may &= columns.disk + ours[2] + EPSILON >= whole.disk
        held = {table.row_of(agent_id) for agent_id in self.agents()} - {None}
        may[[row for row in held if row is not None]] = False
        if not may.any():
            return None
        return int(np.argmax(np.where(may, columns.cpus, -np.inf)))


def _ours(table: AgentTable, load: Load) -> Ours:
    """What builds hold on each row: cpus, mem, disk."""
    found = np.zeros((3, len(table.columns.cpus)))
    for agent_id, held in load.agents():
        row = table.row_of(agent_id)
        if row is not None:
            found[:, row] = held.cpus, held.mem, held.disk
    return found
