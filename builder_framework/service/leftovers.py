"""What was offered and is not used: why, for how long it is refused, and who makes room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from builder_framework.domain import refusals
from builder_framework.domain.agent_table import AgentTable
from builder_framework.domain.model import Resources
from builder_framework.domain.placing import idle_to_end
from builder_framework.domain.waiting import Need, Waiting
from builder_framework.service.policy import LoopPolicy

# Offers come again as soon as REVIVE is sent; until then nobody needs them.
_REFUSE_IDLE = 3600.0
# An agent whose free resources grew is offered at once whatever the filter says; this is only
# for what did not change.
_REFUSE_UNFIT = 30.0
# Builds keep away from an agent for less than that (`domain.avoid`).
_REFUSE_AVOIDED = 10.0

REFUSE_SHORT = 1.0
"""Seconds: what is offered again with the next allocation."""

_NEEDS = 50


class Leftovers:
    """Belongs to the loop's thread."""

    def __init__(
        self,
        table: AgentTable,
        waiting: Waiting,
        policy: LoopPolicy,
        outlook: Callable[[float], refusals.Outlook],
    ) -> None:
        self._table = table
        self._waiting = waiting
        self._policy = policy
        self._outlook = outlook

    def refuse_seconds(self, *, starts: bool, avoids: bool) -> float:
        """For how long nothing new is expected of agents that did not fit. `avoids`: whether there
        are some that all keep away from.
        """
        if not (starts and self._waiting.awake()):
            return _REFUSE_IDLE
        if self._waiting.any_patient():
            return REFUSE_SHORT
        avoids = avoids or self._waiting.any_shunning()
        return _REFUSE_AVOIDED if avoids else _REFUSE_UNFIT

    def reasons(
        self, rows: Sequence[int], now: float, *, starts: bool
    ) -> Iterator[tuple[str, int]]:
        """Why, in one word, and of how many offers: what is needed most often lacked that there."""
        needs = self._waiting.needs() if starts else Counter[Need]()
        numbers: Counter[str] = Counter()
        why: Mapping[int, Counter[str]] = {}
        if needs:
            ((need, _),) = needs.most_common(1)
            why = refusals.by_agent(self._table, Counter({need: 1}), self._outlook(now))
        for row in rows:
            told = next(iter(why.get(row, ())), "not_needed").partition(":")[0]
            numbers[told if needs else "idle"] += len(self._table.agent(row).offers)
        yield from numbers.items()

    def room_to_make(
        self, rows: Sequence[int], idle: Mapping[str, int], now: float
    ) -> Iterator[tuple[str, int]]:
        """Agents, and how many of their `idle` executors would have to end for a build to fit."""
        if not idle:
            return
        needs = self._waiting.needs()
        for row in rows:
            agent_id = self._table.agent(row).first.agent_id
            if number := self._to_end(row, needs, idle.get(agent_id, 0), now):
                yield agent_id, number

    def _to_end(self, row: int, needs: Counter[Need], idle: int, now: float) -> int:
        if not idle:
            return 0
        columns = self._table.columns
        left = Resources(
            float(columns.cpus[row]), float(columns.mem[row]), float(columns.disk[row])
        )
        for need, _ in needs.most_common(_NEEDS):
            if self._table.allows(row, need.constraints, now, now + need.duration):
                number = idle_to_end(need, left, idle, self._policy.executor_resources)
                if number:
                    return number
        return 0
