"""The agents, as people may see them: what they offered last, what runs there, what speaks against
them. Kept by the loop; nothing is decided by it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from builder_framework.domain import avoid, offers
from builder_framework.domain.model import Build
from builder_framework.domain.states import ON_AGENT
from builder_framework.ports import AgentFailure, AgentView, BuildRefusal, ExecutorView, LastOffer

REMEMBERED_SECONDS = 24 * 3600.0
"""Offers stop while nothing waits, so silence says nothing; but agents do go away for good."""

FAILURES = 5
"""Of one agent that are told."""


@dataclass
class _Agent:
    """`failures`: the newest last."""

    id: str
    hostname: str
    url: str
    offer: LastOffer | None = None
    failures: deque[AgentFailure] = field(default_factory=lambda: deque(maxlen=FAILURES))


class Agents:
    """Everything that was heard of agents since this process leads."""

    def __init__(self) -> None:
        self._known: dict[str, _Agent] = {}

    def offered(self, received: Iterable[offers.Offer], now: float) -> None:
        """Offers came in. An agent that registered anew has another id under the same URL."""
        for agent in offers.merge(list(received)):
            first = agent.first
            for old in [x.id for x in self._known.values() if x.url == first.agent_url]:
                if old != first.agent_id:
                    del self._known[old]
            known = self._agent(first.agent_id, first.hostname, first.agent_url)
            window = first.unavailability
            known.offer = LastOffer(
                now, agent.resources, dict(first.attributes), window.start if window else None
            )
        for stale in [x.id for x in self._known.values() if _heard(x) < now - REMEMBERED_SECONDS]:
            del self._known[stale]

    def answered(self, result: offers.MatchResult) -> None:
        """What became of the offers of this turn."""
        used = {found.agent.first.agent_id for found in result.matches}
        why: dict[str, Counter[str]] = {}
        for refused in result.refusals.values():
            for agent_id, reason in refused.items():
                why.setdefault(agent_id, Counter())[reason] += 1
        for agent_id in used | {agent.first.agent_id for agent in result.unused}:
            known = self._known.get(agent_id)
            if known is not None and known.offer is not None:
                refusals = sorted(why.get(agent_id, Counter()).items())
                known.offer = replace(
                    known.offer,
                    used=agent_id in used,
                    refusals=tuple(BuildRefusal(reason, number) for reason, number in refusals),
                )

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
        known = self._known.get(agent_id)
        if known is not None:
            known.failures.clear()

    def views(
        self,
        running: Iterable[Build],
        executors: Mapping[str, Sequence[ExecutorView]],
        warm: Mapping[str, int],
        avoided_until: Mapping[str, float],
    ) -> tuple[AgentView, ...]:
        """By hostname. `executors` and `avoided_until` by agent id, `warm` by URL."""
        found = {view.id: view for view in on_agents(running)}
        for each in list(self._known.values()):
            seen = found.get(each.id) or AgentView(each.id, each.hostname, each.url)
            found[each.id] = replace(seen, offer=each.offer, failures=tuple(each.failures))
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


def _heard(agent: _Agent) -> float:
    last = agent.failures[-1].at if agent.failures else 0.0
    return max(last, agent.offer.at if agent.offer else 0.0)
