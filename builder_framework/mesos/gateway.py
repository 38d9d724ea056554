"""`cluster.Cluster` on the driver: our values become Mesos' calls."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from builder_framework import failpoints
from builder_framework.cluster import Launch, StatusUpdate
from builder_framework.domain.offers import AgentOffer
from builder_framework.errors import CallError, NotSubscribedError
from builder_framework.mesos import launches, translate
from builder_framework.mesos.agents import AgentWorkDirs
from builder_framework.mesos.driver import SchedulerDriver
from builder_framework.mesos.offerbook import OfferBook

REMEMBERED = 50_000
"""Executors; each takes some 3 KB."""


class MesosCluster:
    """See `cluster.Cluster`."""

    def __init__(
        self,
        driver: SchedulerDriver,
        offers: OfferBook,
        template: launches.ExecutorTemplate,
        work_dirs: AgentWorkDirs | None = None,
    ) -> None:
        """`work_dirs`: asked so that restarted agents take executors over; None: they do not."""
        self._driver = driver
        self._offers = offers
        self._template = template
        self._work_dirs = work_dirs
        # Used by the dispatcher's thread only.
        self._executors: OrderedDict[str, launches.ExecutorInfo] = OrderedDict()

    def launch(self, agent: AgentOffer, placed: Sequence[Launch], refuse_seconds: float) -> None:
        self._check_known(placed)
        ids = [offer.id for offer in agent.offers]
        raw = self._offers.pop(ids)
        if len(raw) != len(ids):
            # A new subscription came between matching and now.
            raise NotSubscribedError("ACCEPT was not sent: the offers are void")
        pool = translate.pool_of(raw)
        tasks = [
            launches.task_info(
                launch, self._template, pool, self._executor_info(launch, agent, pool)
            )
            for launch in placed
        ]
        failpoints.reach("T6.before")
        self._driver.accept(ids, tasks, refuse_seconds)
        failpoints.reach("T7.after")

    def _check_known(self, placed: Sequence[Launch]) -> None:
        new = {each.attempt.placement.executor_id for each in placed if not each.joins}
        for each in placed:
            executor_id = each.attempt.placement.executor_id
            if executor_id not in new and executor_id not in self._executors:
                raise CallError(f"executor {executor_id} is not one of this process")

    def _executor_info(
        self, launch: Launch, agent: AgentOffer, pool: list[dict[str, Any]]
    ) -> launches.ExecutorInfo:
        """The very same as before for an executor that runs: the master compares."""
        executor_id = launch.attempt.placement.executor_id
        if not launch.joins:
            self._executors[executor_id] = launches.executor_info(
                launch, self._template, pool, self._checkpoints(agent)
            )
        self._executors.move_to_end(executor_id)
        while len(self._executors) > REMEMBERED:
            self._executors.popitem(last=False)
        return self._executors[executor_id]

    def _checkpoints(self, agent: AgentOffer) -> str | None:
        if self._work_dirs is None:
            return None
        return self._work_dirs.checkpoints(agent.first.agent_id, agent.first.agent_url)

    def decline(self, agents: Sequence[AgentOffer], refuse_seconds: float) -> None:
        ids = [offer.id for agent in agents for offer in agent.offers]
        self._offers.pop(ids)
        self._driver.decline(ids, refuse_seconds)

    def revive(self) -> None:
        self._driver.revive()

    def suppress(self) -> None:
        self._driver.suppress()

    def kill(self, task_id: str, agent_id: str | None) -> None:
        failpoints.reach("T16.before")
        self._driver.kill(task_id, agent_id, self._template.grace_period)
        failpoints.reach("T16.after")

    def shutdown_executor(self, executor_id: str, agent_id: str) -> None:
        self._executors.pop(executor_id, None)
        self._driver.shutdown_executor(executor_id, agent_id)

    def message(self, executor_id: str, agent_id: str, data: bytes) -> None:
        self._driver.message(executor_id, agent_id, data)

    def acknowledge(self, update: StatusUpdate) -> None:
        failpoints.reach_in(update.state, "T10.before", "T13.before")
        self._driver.acknowledge(translate.acknowledgement(update))
        failpoints.reach_in(update.state, "T10.after", "T13.after")

    def reconcile(self, tasks: Sequence[tuple[str, str]]) -> None:
        self._driver.reconcile(tasks)
