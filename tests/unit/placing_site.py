"""Agents, builds and rounds for the tests of placing: all of it in the domain's own values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from builder_framework.domain.agent_table import AgentTable
from builder_framework.domain.load import Held, Load
from builder_framework.domain.model import Constraint, Resources
from builder_framework.domain.offers import Offer
from builder_framework.domain.placing import Match, Placed, Round, Surroundings
from builder_framework.domain.waiting import Need, QueuedBuild, Waiting

NOW = 1000.0
EXECUTOR = Resources(0.5, 100.0)


def offer(agent: str = "a1", cpus: float = 4.0, mem: float = 4096.0, **changes: Any) -> Offer:
    made = Offer(
        id=f"offer-{agent}",
        agent_id=agent,
        hostname=f"{agent}.example.org",
        agent_url=url(agent),
        resources=Resources(cpus, mem, 1000.0),
        attributes={"rack": "a", "ssd": "true"},
    )
    return replace(made, **changes)


def url(agent: str) -> str:
    return f"http://{agent}:5051"


def build(
    name: str, cpus: float = 1.0, mem: float = 512.0, *wants: Constraint, **changes: Any
) -> QueuedBuild:
    """Its name is its place in the order."""
    need = Need(Resources(cpus, mem), 600.0, wants)
    return replace(QueuedBuild(name, need, 1.0, "owner ann"), **changes)


@dataclass
class Site:
    """A queue and a table, with rounds over them."""

    table: AgentTable = field(default_factory=AgentTable)
    waiting: Waiting = field(default_factory=Waiting)
    load: Load = field(default_factory=Load)
    placed: int = 0

    def offers(self, *offers: Offer, now: float = NOW) -> Site:
        self.table.offer(offers, now)
        return self

    def wait(self, *builds: QueuedBuild, now: float = NOW) -> Site:
        for each in builds:
            self.waiting.put(each, now)
        return self

    def hold(self, build_id: str, agent: str, slot: int, sharer: str = "owner ann") -> Site:
        self.load.put(build_id, Held(agent, slot, sharer, None, Resources(1.0, 512.0)))
        return self

    def round(self, *, now: float = NOW, slots: int = 8, **around: Any) -> Round:
        self.waiting.wake(now)
        chosen = Surroundings(now=now, slots=slots, **around)
        return Round(self.table, self.waiting, self.load, chosen, self.placed)

    def run(self, **around: Any) -> Placed:
        return self.round(**around).run()

    def answer(self, **around: Any) -> Placed:
        """A round, after which everything is answered, as the desk does it."""
        turn = self.round(**around)
        result = turn.run()
        self.table.left(turn.left())
        self.table.answered(turn.rows.tolist())
        return result


def places(result: Placed) -> Mapping[str, str]:
    return {match.build_id: agent_of(match) for match in result.matches}


def agent_of(match: Match) -> str:
    return match.agent.first.agent_id
