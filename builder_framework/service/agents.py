"""The agents, as people may see them: what they offered last, what runs there, what speaks against
them. Kept by the loop; nothing is decided by it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from builder_framework.domain import avoid
from builder_framework.domain.agent_table import AgentTable
from builder_framework.domain.model import Build
from builder_framework.domain.states import ON_AGENT
from builder_framework.ports import AgentFailure, AgentView, BuildRefusal, ExecutorView, LastOffer

REMEMBERED_SECONDS = 24 * 3600.0
"""Offers stop while nothing waits, so silence says nothing; but agents do go away for good."""

FAILURES = 5
"""Of one agent that are told."""


@dataclass
class _Agent:
    """One on which attempts failed; the newest failure is the last."""

    id: str
    hostname: str
    url: str
    failures: deque[AgentFailure] = field(default_factory=lambda: deque(maxlen=FAILURES))


class Agents:
    """What is told of agents, besides what the table of them holds."""

    def __init__(self, table: AgentTable) -> None:
        self._table = table
        self._known: dict[str, _Agent] = {}
        self._used: set[int] = set()

    def answered(self, used: Iterable[int], unused: Iterable[int]) -> None:
        """What became of the offers of these rows."""
        self._used.difference_update(unused)
        self._used.update(used)

    def failed(self, build: Build, now: float) -> None:
        """The newest attempt of a build has failed; whether that speaks against its agent."""
        attempt = build.current
        if attempt is None or attempt.reason is None or attempt.reason not in avoid.BLAMES_AGENT:
            return
        place = attempt.placement
        known = self._agent(place.agent_id, place.hostname, place.agent_url)
        known.failures.append(AgentFailure(now, build.id, attempt.reason))

    def succeeded(self, agent_id: str) -> None:
        """A build did well there."""
        self._known.pop(agent_id, None)

    def views(
        self,
        running: Iterable[Build],
        executors: Mapping[str, Sequence[ExecutorView]],
        warm: Mapping[str, int],
        avoided_until: Mapping[str, float],
        refusals: Mapping[int, Mapping[str, int]],
    ) -> tuple[AgentView, ...]:
        """By hostname. `executors` and `avoided_until` by agent id, `warm` by URL, `refusals` by
        row.
        """
        found = {view.id: view for view in on_agents(running)}
        for each in list(self._known.values()):
            seen = found.get(each.id) or AgentView(each.id, each.hostname, each.url)
            found[each.id] = replace(seen, failures=tuple(each.failures))
        with self._table.lock:
            for agent_id, row in self._table.agents():
                first = self._table.agent(row).first
                seen = found.get(agent_id) or AgentView(agent_id, first.hostname, first.agent_url)
                found[agent_id] = replace(seen, offer=self._last(row, refusals.get(row, {})))
        complete = (
            replace(
                each,
                executors=tuple(executors.get(each.id, ())),
                warm=warm.get(each.url, 0),
                avoided_until=avoided_until.get(each.id),
            )
            for each in found.values()
        )
        return tuple(sorted(complete, key=lambda each: (each.hostname, each.id)))

    def _last(self, row: int, refused: Mapping[str, int]) -> LastOffer:
        agent, used = self._table.agent(row), row in self._used
        window = agent.first.unavailability
        return LastOffer(
            float(self._table.columns.heard_at[row]),
            agent.resources,
            dict(agent.first.attributes),
            window.start if window else None,
            used,
            tuple(BuildRefusal(reason, number) for reason, number in sorted(refused.items())),
        )

    def forget(self, before: float) -> None:
        """Drop what was last heard of before that."""
        for stale in [x.id for x in self._known.values() if x.failures[-1].at < before]:
            del self._known[stale]

    def _agent(self, agent_id: str, hostname: str, url: str) -> _Agent:
        return self._known.setdefault(agent_id, _Agent(agent_id, hostname, url))


def on_agents(builds: Iterable[Build]) -> tuple[AgentView, ...]:
    """What builds that have a task tell of agents, by hostname."""
    by_agent: dict[str, list[Build]] = {}
    for build in builds:
        if build.current is not None and build.state in ON_AGENT:
            by_agent.setdefault(build.current.placement.agent_id, []).append(build)
    found = []
    for agent_id, there in by_agent.items():
        there.sort(key=lambda build: (build.created_at, build.id))
        place = next(build.current.placement for build in there if build.current is not None)
        found.append(AgentView(agent_id, place.hostname, place.agent_url, tuple(there)))
    return tuple(sorted(found, key=lambda each: (each.hostname, each.id)))
