"""Why agents do not take a build: found when somebody asks, from what was left on them.

So it costs a round nothing, and is as exact: resources only became fewer while it lasted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from builder_framework.domain.agent_table import AgentTable, Columns, Flags, Rows
from builder_framework.domain.offers import EPSILON, RefusalReason
from builder_framework.domain.waiting import Need, QueuedBuild

_MOST_NEEDS = 200


@dataclass(frozen=True)
class Outlook:
    """What is known beside the table; see `placing.Surroundings`. `limited`: projects that are at
    their limit.
    """

    now: float
    executors: AbstractSet[tuple[str, str]] = frozenset()
    avoided: AbstractSet[str] = frozenset()
    held: Mapping[str, str] = field(default_factory=dict)
    limited: AbstractSet[str] = frozenset()


def offered(table: AgentTable, since: float) -> tuple[int, float | None]:
    """How many agents were offered since then, and when the last one was."""
    with table.lock:
        times = table.columns.offered_at
        number = int((times >= since).sum())
        return number, float(times.max()) if number else None


def of_build(table: AgentTable, build: QueuedBuild, outlook: Outlook) -> Counter[str]:
    """Reason -> how many of the agents that were offered since the build waits."""
    with table.lock:
        return _of_build(table, build, outlook)


def _of_build(table: AgentTable, build: QueuedBuild, outlook: Outlook) -> Counter[str]:
    columns = table.columns
    rows = np.flatnonzero(columns.offered_at >= build.waiting_since)
    if build.project in outlook.limited:
        return Counter({RefusalReason.PROJECT.value: len(rows)} if len(rows) else {})
    picky = outlook.now < build.picky_until
    conditions = list(_conditions(table, columns, build.need, outlook, rows))
    avoided = (outlook.avoided | build.shunned) if picky else frozenset()
    conditions.append((RefusalReason.AVOIDED.value, _among(table, avoided)[rows]))
    others = {agent_id for agent_id, owner in outlook.held.items() if owner != build.build_id}
    conditions.append((RefusalReason.HELD.value, _among(table, others)[rows]))
    if build.warm is not None and outlook.now < build.patient_until:
        conditions.append((RefusalReason.COLDER.value, np.ones(len(rows), dtype=bool)))
    return Counter(
        {name: int(number) for name, number in _first_of(conditions, len(rows)) if number}
    )


def by_agent(
    table: AgentTable, needs: Counter[Need], outlook: Outlook
) -> Mapping[int, Counter[str]]:
    """Row -> reason -> how many of the builds with these needs; of the most frequent ones."""
    with table.lock:
        return _by_agent(table, needs, outlook)


def _by_agent(
    table: AgentTable, needs: Counter[Need], outlook: Outlook
) -> Mapping[int, Counter[str]]:
    columns = table.columns
    rows = np.flatnonzero(np.isfinite(columns.heard_at))
    found: dict[int, Counter[str]] = {}
    for need, builds in needs.most_common(_MOST_NEEDS):
        conditions = list(_conditions(table, columns, need, outlook, rows))
        conditions.append((RefusalReason.AVOIDED.value, _among(table, outlook.avoided)[rows]))
        conditions.append((RefusalReason.HELD.value, _among(table, outlook.held)[rows]))
        for number, why in enumerate(_codes(conditions, len(rows)).tolist()):
            if why:
                counts = found.setdefault(int(rows[number]), Counter())
                counts[conditions[why - 1][0]] += builds
    return found


def _conditions(
    table: AgentTable, columns: Columns, need: Need, outlook: Outlook, rows: Rows
) -> Iterator[tuple[str, Flags]]:
    """Names of reasons in the order in which they are told, and for which of `rows` they hold."""
    yield RefusalReason.GPUS.value, columns.gpus[rows]
    soon = (columns.begins <= outlook.now + need.duration) & (columns.ends > outlook.now)
    yield RefusalReason.MAINTENANCE.value, soon[rows]
    for constraint in need.constraints:
        name = f"{RefusalReason.CONSTRAINT.value}:{constraint.attribute}"
        yield name, ~table.meeting_one(constraint)[rows]
    there = {agent_id for agent_id, kind in outlook.executors if kind == need.kind}
    at_home = _among(table, there)[rows]
    for name, column, own, whole in _amounts(columns, need):
        wanted = np.where(at_home, own, whole)
        yield name, column[rows] + EPSILON < wanted
    yield RefusalReason.SLOTS.value, columns.slots[rows] <= 0


def _amounts(
    columns: Columns, need: Need
) -> Iterator[tuple[str, npt.NDArray[np.float64], float, float]]:
    own, whole = need.resources, need.whole
    yield RefusalReason.CPUS.value, columns.cpus, own.cpus, whole.cpus
    yield RefusalReason.MEM.value, columns.mem, own.mem, whole.mem
    yield RefusalReason.DISK.value, columns.disk, own.disk, whole.disk


def _among(table: AgentTable, agent_ids: AbstractSet[str] | Mapping[str, str]) -> Flags:
    flags = np.zeros(len(table.columns.cpus), dtype=bool)
    for agent_id in agent_ids:
        row = table.row_of(agent_id)
        if row is not None:
            flags[row] = True
    return flags


def _codes(conditions: list[tuple[str, Flags]], count: int) -> npt.NDArray[np.int64]:
    """The number (from 1) of the first condition that holds, 0 where none does."""
    codes = np.zeros(count, dtype=np.int64)
    for number in range(len(conditions), 0, -1):
        codes[conditions[number - 1][1]] = number
    return codes


def _first_of(conditions: list[tuple[str, Flags]], count: int) -> Iterator[tuple[str, int]]:
    counts = np.bincount(_codes(conditions, count), minlength=len(conditions) + 1)
    for (name, _), number in zip(conditions, counts[1:].tolist(), strict=True):
        yield name, number
