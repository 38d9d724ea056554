"""The Mesos executor: many tasks over its life, and an end by itself when there are none.

pymesos calls from the driver's thread; `run` decides in the main thread when it is over. This is
the last module that sees addict: beyond it there are task ids and bytes.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from addict import Dict
from pymesos import Executor, decode_data

from builder_framework.errors import ProtocolError
from builder_framework.protocol import decode_lease_answer
from executor import sweep
from executor.cancel import Stop
from executor.checkpoint import make_recoverable
from executor.driver import ExecutorDriver
from executor.engine import Engines
from executor.environment import duration
from executor.outbox import FILE_NAME, Outbox
from executor.task import Task

logger = logging.getLogger(__name__)

ACK_WAIT = 60.0
"""Seconds that a connected agent has to acknowledge the last update; it needs milliseconds."""

ENGINE_PATIENCE = 5.0
"""Seconds between TERM and KILL for the engine when nothing is in a hurry."""

RESERVE = 0.5
"""Seconds of a grace period that are left for the executor's own end."""


@dataclass(frozen=True)
class Settings:
    """Where and how the executor runs. `idle`: seconds to wait for a next task before it ends."""

    sandbox: Path
    idle: float = 0.0

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """`MESOS_SANDBOX` is the path in the container, `MESOS_DIRECTORY` the agent's own."""
        sandbox = env.get("MESOS_SANDBOX") or env.get("MESOS_DIRECTORY") or "."
        text = env.get("BUILDER_EXECUTOR_IDLE", "0")
        try:
            idle = max(0.0, float(text))
        except ValueError:
            idle = duration(text, 0.0)
        return cls(Path(sandbox), idle)


class BuildExecutor(Executor):  # type: ignore[misc]
    """Answers the agent. Callbacks return at once; every task has a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engines = Engines(settings.sandbox)
        self._changed = threading.Condition()
        self._tasks: dict[str, Task] = {}
        self._stuck: set[str] = set()
        self._had_tasks = False
        self._shutdown: float | None = None
        self._closing = False
        self._lost: str | None = None
        self._announce_killing = False
        self._driver: ExecutorDriver | None = None

    def run(self, token: str | None = None) -> int:
        """Serve until the last task has ended, or somebody says so. Returns the exit code."""
        outbox = Outbox(self._settings.sandbox / FILE_NAME)
        driver = self._driver = ExecutorDriver(self, self, token, outbox)
        make_recoverable()
        driver.start()
        try:
            self._wait()
            return self._finish(driver)
        finally:
            driver.stop()

    # --- pymesos' callbacks ---------------------------------------------------------------

    def registered(
        self,
        driver: ExecutorDriver,
        executor_info: Dict,
        framework_info: Dict,
        agent_info: Dict,
    ) -> None:
        """The agent knows us."""
        del driver, executor_info
        names = [capability.type for capability in framework_info.capabilities or ()]
        self._announce_killing = "TASK_KILLING_STATE" in names
        logger.info("subscribed to the agent on %s", agent_info.hostname)

    def reregistered(self, driver: ExecutorDriver, agent_info: Dict) -> None:
        """The agent is back."""
        del driver
        logger.info("subscribed again to the agent on %s", agent_info.hostname)

    def disconnected(self, driver: ExecutorDriver) -> None:
        """The agent is gone for now; builds go on."""
        del driver
        logger.warning("the connection to the agent is lost")

    def launchTask(self, driver: ExecutorDriver, task: Dict) -> None:  # noqa: N802
        """Start a build."""
        task_id = str(task.task_id.value)
        data = decode_data(task.data) if task.data else b""
        new = Task(
            task_id,
            data,
            self._settings.sandbox,
            self._engines,
            driver.sendStatusUpdate,
            driver.sendFrameworkMessage,
            self._task_ended,
            self._task_stuck,
        )
        with self._changed:
            if self._shutdown is not None or self._lost is not None:
                logger.warning("ignored LAUNCH of %s: about to end", task_id)
                return
            refused = self._closing or bool(self._stuck)
            if not refused:
                self._tasks[task_id] = new
                self._had_tasks = True
                self._changed.notify_all()
        if refused:
            logger.warning("refused %s: about to end", task_id)
            new.refuse("the executor takes no more builds")
            return
        logger.info("task %s starts", task_id)
        new.start()

    def error(self, driver: ExecutorDriver, message: str) -> None:
        """The agent wants us to end."""
        del driver
        logger.error("the agent said: %s", message)
        self.stop_all()

    # --- executor.driver.Listener ---------------------------------------------------------

    def kill(self, task_id: str, grace: float | None) -> None:
        """Stop one build."""
        task = self._tasks.get(task_id)
        if task is None:
            logger.warning("no task %s to kill", task_id)
            return
        task.stop(Stop.KILL, self._grace(grace), announce=self._announce_killing)

    def framework_message(self, data: bytes) -> None:
        """The framework's answer to a question for a lease."""
        try:
            answer = decode_lease_answer(data)
        except ProtocolError as error:
            logger.warning("a message that is no answer: %s", error)
            return
        task = self._tasks.get(answer.task_id)
        if task is None:
            logger.warning("an answer for no task of ours: %s", answer.task_id)
            return
        task.lease_answered(answer)

    def stop_all(self) -> None:
        """Stop every build and end, within the executor's grace period."""
        grace = self._grace(None)
        with self._changed:
            if self._shutdown is not None:
                return
            self._shutdown = time.monotonic() + grace - RESERVE
            self._changed.notify_all()
        logger.info("shutting down within %.1f s", grace)
        for task in list(self._tasks.values()):
            task.stop(Stop.SHUTDOWN, grace)

    def driver_ended(self, why: str) -> None:
        """Nobody will hear of these builds any more, so they must not go on and push."""
        with self._changed:
            if self._lost is not None:
                return
            self._lost = why
            self._changed.notify_all()
        for task in list(self._tasks.values()):
            task.stop(Stop.SHUTDOWN, self._grace(None))

    # --- the end --------------------------------------------------------------------------

    def _grace(self, wanted: float | None) -> float:
        default: float = self._driver.grace_shutdown_period if self._driver else 5.0
        return max(1.0, default if wanted is None else wanted)

    def _task_ended(self, task_id: str) -> None:
        with self._changed:
            del self._tasks[task_id]
            self._changed.notify_all()

    def _task_stuck(self, task_id: str) -> None:
        """Only the container's end will end it, and that must not wait for it."""
        with self._changed:
            self._stuck.add(task_id)
            self._changed.notify_all()

    @property
    def _active(self) -> bool:
        return bool(self._tasks.keys() - self._stuck)

    def _wait(self) -> None:
        """Until there is nothing more to wait for."""
        idle_since: float | None = None
        with self._changed:
            while True:
                now = time.monotonic()
                if self._lost is not None:
                    self._wait_for_tasks(now + self._grace(None) - RESERVE)
                    return
                if self._shutdown is not None:
                    self._wait_for_tasks(self._shutdown)
                    return
                if self._active or not self._had_tasks:
                    idle_since = None
                    self._changed.wait()
                    continue
                idle_since = now if idle_since is None else idle_since
                left = idle_since + self._settings.idle - now
                if left <= 0 or self._stuck:
                    self._closing = True
                    return
                self._changed.wait(left)

    def _wait_for_tasks(self, until: float) -> None:
        while self._active and (left := until - time.monotonic()) > 0:
            self._changed.wait(left)

    def _finish(self, driver: ExecutorDriver) -> int:
        """Every build has ended or will with us: end the engine, wait for the last word's ack."""
        patience = ENGINE_PATIENCE
        if self._tasks or self._lost is not None:
            patience = 0.0
        elif self._shutdown is not None:
            patience = max(0.0, self._shutdown - time.monotonic())
        tidy = self._closing and not self._tasks
        stopper = _in_background(lambda: self._engines.stop(patience, tidy=tidy), "stop engine")
        # Only the time while the agent is there counts; the driver gives up on one that is not.
        waited = 0.0
        limit = ACK_WAIT if self._closing else patience + RESERVE
        while self._lost is None and waited < limit and not driver.wait_drained(0.2):
            waited += 0.2 if driver.connected or not self._closing else 0.0
        stopper.join(ENGINE_PATIENCE + 3.0 + (sweep.CALL_TIMEOUT if tidy else 0.0))
        if self._lost is not None:
            logger.error("ended without the agent: %s", self._lost)
            return 1
        logger.info("every task has ended")
        return 0


def _in_background(work: Callable[[], None], name: str) -> threading.Thread:
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread
