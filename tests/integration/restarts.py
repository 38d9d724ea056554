"""Agents that are killed at random moments under running builds, and what became of these."""

from __future__ import annotations

import contextlib
import math
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from devcluster import Cluster
from devcluster.mesos import Agent
from tests.integration.harness import TERMINAL, Framework, Json, until

EARLIEST = 1.5
"""Seconds after RUNNING: within the first, the agent has not checkpointed its executor yet
(docs/adr/0008-agent-restarts.md)."""

LATEST = 12.0
"""Seconds after RUNNING; the shorter builds have ended by then."""

BUILDS = 2
"""Builds that run on an agent when it is killed."""

PATIENCE = 240.0
"""Seconds for a build to end after its agent is back; on a slow machine most of it is building."""


@dataclass(frozen=True)
class Plan:
    """One restart. `after`: seconds from RUNNING to the kill; `away`: from the kill to the start;
    `lengths`: seconds that each build's longest step takes.
    """

    number: int
    after: float
    away: float
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of one build under a restart."""

    plan: Plan
    build: Json

    @property
    def survived(self) -> bool:
        """Whether it ended well, in whichever attempt."""
        return bool(self.build["state"] == "SUCCEEDED")

    def row(self) -> str:
        """A line of the table."""
        plan, build = self.plan, self.build
        why = f"{build['reason']}: {build['message']}" if not self.survived else ""
        words = (f"{plan.number:>4}", f"{plan.after:>6.1f}", f"{plan.away:>6.1f}")
        return f"{' '.join(words)}  {build['state']:<9} {len(build['attempts'])}  {why}".rstrip()


HEADER = "   # kill/s away/s  state     attempts"


def plans(seed: int, count: int, longest: float) -> list[Plan]:
    """The same for the same seed. Delays from 1 s to `longest`, as often short as long."""
    chance = random.Random(seed)  # noqa: S311
    return [
        Plan(
            number=number + 1,
            after=chance.uniform(EARLIEST, LATEST),
            away=math.exp(chance.uniform(0.0, math.log(longest))),
            lengths=tuple(chance.randint(3, 25) for _ in range(BUILDS)),
        )
        for number in range(count)
    ]


class Restarter:
    """Carries out plans, one after another on each agent, on all agents at once.

    `exits`: how often an agent ended by itself and was started again.
    """

    def __init__(self, framework: Framework, cluster: Cluster, name: str) -> None:
        self._framework = framework
        self._cluster = cluster
        self._name = name
        self._git = threading.Lock()
        self.exits = 0

    def run(self, todo: list[Plan]) -> list[Outcome]:
        """Every build's outcome, in the order of the plans."""
        agents = self._cluster.agents
        shares = [(agent, todo[n :: len(agents)]) for n, agent in enumerate(agents)]
        with ThreadPoolExecutor(len(agents)) as pool:
            parts = pool.map(lambda share: self._one_agent(*share), shares)
            outcomes = [outcome for part in parts for outcome in part]
        return sorted(outcomes, key=lambda outcome: outcome.plan.number)

    def _one_agent(self, agent: Agent, share: list[Plan]) -> list[Outcome]:
        return [outcome for plan in share for outcome in self._restart(agent, plan)]

    def _restart(self, agent: Agent, plan: Plan) -> list[Outcome]:
        framework = self._framework
        rack = [["rack", "EQUALS", agent.attributes["rack"]]]
        builds = []
        for n, length in enumerate(plan.lengths):
            name = f"{self._name}-{plan.number}-{n}"
            builds.append(framework.submit(self._source(name, length), name, constraints=rack))
        for build_id in builds:
            until(partial(self._is_at_work, agent, build_id), "it does not start", PATIENCE)
        time.sleep(plan.after)
        agent.kill()
        time.sleep(plan.away)
        agent.start()
        return [Outcome(plan, self._end(agent, build_id)) for build_id in builds]

    def _end(self, agent: Agent, build_id: str) -> Json:
        """The build when it is over, or as it is when it will not be."""
        with contextlib.suppress(AssertionError):
            until(partial(self._is_over, agent, build_id), "it does not end", PATIENCE)
        return self._framework.get(build_id)

    def _is_over(self, agent: Agent, build_id: str) -> bool:
        self._supervise(agent)
        return self._framework.get(build_id)["state"] in TERMINAL

    def _is_at_work(self, agent: Agent, build_id: str) -> bool:
        self._supervise(agent)
        build = self._framework.get(build_id)
        return build["state"] == "RUNNING" or build["state"] in TERMINAL

    def _supervise(self, agent: Agent) -> None:
        """Play systemd: an agent ends itself when a container goes while it recovers.

        It has asked `docker ps` by then, and `docker inspect` fails (Docker::ps in src/docker/
        docker.cpp). Two agents on one engine make that likely.
        """
        if agent.daemon.pid is None:
            self.exits += 1
            agent.spawn()

    def _source(self, name: str, seconds: int) -> str:
        dockerfile = f"FROM {self._cluster.base_image}\nENV TEST={name}\nRUN sleep {seconds}\n"
        with self._git:
            return self._cluster.git.create_repository(name, {"Dockerfile": dockerfile})
