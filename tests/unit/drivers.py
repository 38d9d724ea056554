"""Stock pymesos and our driver in the same scenario: `BOTH` expects the defect of stock, strictly.

Should a new release of pymesos mend it, these tests say so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymesos import MesosSchedulerDriver, Scheduler

from builder_framework.mesos.driver import SchedulerDriver
from tests.unit.scripted_master import ScriptedMaster

INFO: dict[str, Any] = {
    "name": "builder",
    "user": "root",
    "failover_timeout": 1000.0,
    "capabilities": [{"type": "PARTITION_AWARE"}],
}
UPDATE = {
    "type": "UPDATE",
    "update": {
        "status": {
            "task_id": {"value": "t"},
            "agent_id": {"value": "a"},
            "state": "TASK_RUNNING",
            "uuid": "dQ==",
        }
    },
}
MakeDriver = Callable[..., Any]


class Callbacks(Scheduler):  # type: ignore[misc]
    """Counts what comes in; `defect` is raised by the callback for a status update."""

    def __init__(self, defect: Exception | None = None) -> None:
        self.defect = defect
        self.updates = 0
        self.lost: list[str] = []
        self.subscriptions = 0
        self.disconnections = 0
        self.reasons: list[str] = []

    def registered(self, *_: Any) -> None:
        self.subscriptions += 1

    def reregistered(self, *_: Any) -> None:
        self.subscriptions += 1

    def disconnected(self, *_: Any) -> None:
        self.disconnections += 1

    def statusUpdate(self, driver: Any, update: Any) -> None:  # noqa: N802, ARG002
        self.updates += 1
        if self.defect is not None:
            raise self.defect

    def executorLost(self, _driver: Any, executor_id: Any, *_: Any) -> None:  # noqa: N802
        self.lost.append(executor_id.value)

    def broken(self, message: str) -> None:
        self.reasons.append(message)


def ours(callbacks: Any, master: ScriptedMaster | str, **options: Any) -> SchedulerDriver:
    info = options.pop("info", INFO)
    return SchedulerDriver(callbacks, info, _address(master), **options)


def stock(callbacks: Any, master: ScriptedMaster | str, **options: Any) -> MesosSchedulerDriver:
    options.pop("tls", None)  # there is none
    info = options.pop("info", None) or dict(INFO)
    return MesosSchedulerDriver(callbacks, info, _address(master), use_addict=True, **options)


def _address(master: ScriptedMaster | str) -> str:
    return master if isinstance(master, str) else master.address


BOTH = pytest.mark.parametrize(
    "make", [ours, pytest.param(stock, marks=pytest.mark.xfail(strict=True, reason="the defect"))]
)


@contextlib.contextmanager
def running(driver: Any) -> Iterator[Any]:
    """The driver, started, and ended whatever happens."""
    detectors: list[Any] = []
    try:
        driver.start()
        detectors.append(driver.detector)
        yield driver
    finally:
        detectors.append(driver.detector)
        # Stock's stop(False) would tear down; its thread may be dead already, or asleep.
        driver.stop(True)
        if driver._io_thread is not None:
            driver._io_thread.join(2)
        if not isinstance(driver, SchedulerDriver):
            # Stock forgets its ZooKeeper client, with a socket and threads that nobody else ends.
            for detector in filter(None, detectors):
                detector.zk.stop()
                detector.zk.close()


def revive(driver: Any) -> None:
    driver.revive() if isinstance(driver, SchedulerDriver) else driver.reviveOffers()


def kill(driver: Any, task_id: str, agent_id: str) -> None:
    if isinstance(driver, SchedulerDriver):
        driver.kill(task_id, agent_id, 7.0)
    else:
        driver.killTask({"value": task_id})  # takes nothing else


def reconcile(driver: Any, task_id: str, agent_id: str) -> None:
    if isinstance(driver, SchedulerDriver):
        driver.reconcile([(task_id, agent_id)])
    else:
        driver.reconcileTasks([{"task_id": {"value": task_id}, "agent_id": {"value": agent_id}}])


def launch(driver: Any, offer_id: str, task: dict[str, Any]) -> None:
    if isinstance(driver, SchedulerDriver):
        driver.accept([offer_id], [task], 1.0)
    else:
        driver.launchTasks({"value": offer_id}, [task])
