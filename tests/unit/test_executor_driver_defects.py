"""What pymesos 0.3.15's executor driver does wrong: each test passes on ours, not on stock.

Stock runs through the same scenario and is expected to fail, strictly: should a new release mend
it, these tests say so. The numbers are those of docs/pymesos-executor.md.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymesos.executor
import pymesos.process
import pytest
from pymesos import Executor, MesosExecutorDriver

from executor.driver import ExecutorDriver
from tests.unit.executor_agent import FakeAgent
from tests.unit.waiting import until

TOKEN = "canary-token"
SOON = 2.0
"""Seconds to wait for what happens within milliseconds, or never."""


class Recorder(Executor):  # type: ignore[misc]
    """Hears both drivers. `end`: somebody told the executor to end its builds."""

    def __init__(self) -> None:
        self.launched: list[str] = []
        self.end = threading.Event()
        self.last_words: Callable[[], None] = lambda: None

    def launchTask(self, _driver: Any, task: Any) -> None:  # noqa: N802
        self.launched.append(task["task_id"]["value"])

    def shutdown(self, _driver: Any) -> None:
        self.stop_all()

    def kill(self, task_id: str, grace: float | None) -> None:
        raise NotImplementedError

    def framework_message(self, data: bytes) -> None:
        raise NotImplementedError

    def stop_all(self) -> None:
        self.end.set()
        self.last_words()

    def driver_ended(self, why: str) -> None:
        if why != "stopped":
            self.end.set()


Start = Callable[[], tuple[Any, Recorder]]


def ours(recorder: Recorder) -> Any:
    return ExecutorDriver(recorder, recorder)


def stock(recorder: Recorder) -> Any:
    return MesosExecutorDriver(recorder, use_addict=True)


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    with FakeAgent() as running:
        yield running
        running.close()


@pytest.fixture
def env(agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in agent.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", TOKEN)
    # It interrupts the main thread, which is the tests', when its own ends; and it kills the group.
    monkeypatch.setattr(
        pymesos.process, "thread", types.SimpleNamespace(interrupt_main=lambda: None)
    )
    return monkeypatch


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What was killed with its group; nothing is, really."""
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda *call: calls.append(call))
    return calls


@pytest.fixture(
    params=[ours, pytest.param(stock, marks=pytest.mark.xfail(strict=True, reason="the defect"))]
)
def start(
    request: pytest.FixtureRequest, env: pytest.MonkeyPatch, killed: list[tuple[int, int]]
) -> Iterator[Start]:
    """Makes and starts a driver; it is ended after the test, whatever became of it."""
    started: list[Any] = []

    def run() -> tuple[Any, Recorder]:
        recorder = Recorder()
        driver = request.param(recorder)
        started.append(driver)
        driver.start()
        return driver, recorder

    yield run
    for driver in started:
        driver.stop()
        driver.join()


def update(state: str) -> dict[str, Any]:
    return {"task_id": {"value": "b.1"}, "state": state}


def send(driver: Any, status: dict[str, Any]) -> None:
    """Stock raises where it did not send; whether the update arrives is another question."""
    with contextlib.suppress(OSError, RuntimeError, http.client.HTTPException):
        driver.sendStatusUpdate(status)


def test_x1_without_checkpointing_a_lost_agent_is_the_end(
    start: Start, agent: FakeAgent, env: pytest.MonkeyPatch
) -> None:
    """bool("0") is true."""
    env.setenv("MESOS_CHECKPOINT", "0")
    driver, recorder = start()
    until(lambda: driver.connected)
    agent.drop_connection()
    assert recorder.end.wait(SOON)


def test_x2_an_update_lives_until_it_is_acknowledged(start: Start, agent: FakeAgent) -> None:
    agent.acknowledge = False
    driver, _ = start()
    until(lambda: driver.connected)
    send(driver, update("TASK_FINISHED"))
    until(lambda: agent.updates)
    agent.drop_connection()
    until(lambda: len(agent.subscriptions) == 2)
    listed = agent.subscriptions[-1][1]["unacknowledged_updates"]
    assert [item["status"]["uuid"] for item in listed] == [agent.updates[0]["uuid"]]


def test_x2_an_update_made_without_an_agent_arrives(start: Start, agent: FakeAgent) -> None:
    away = threading.Event()
    agent.subscribe_status = lambda: 200 if away.is_set() else 503
    driver, _ = start()
    until(lambda: agent.subscriptions)
    send(driver, update("TASK_FINISHED"))
    away.set()
    until(lambda: driver.connected)
    until(lambda: agent.states() == ["TASK_FINISHED"], SOON)


def test_x3_one_dict_sent_twice_is_two_updates(start: Start, agent: FakeAgent) -> None:
    """The agent ignores an update whose uuid it has seen."""
    driver, _ = start()
    until(lambda: driver.connected)
    status = update("TASK_RUNNING")
    driver.sendStatusUpdate(status)
    status["state"] = "TASK_FINISHED"
    driver.sendStatusUpdate(status)
    until(lambda: len(agent.updates) == 2)
    assert len({item["uuid"] for item in agent.updates}) == 2


def test_x4_an_agent_that_was_restarted_finds_its_executor(start: Start, agent: FakeAgent) -> None:
    """It waits 2 s, by default, and then destroys the container; stock takes up to 15 s."""
    driver, _ = start()
    until(lambda: driver.connected)
    agent.close()
    time.sleep(2.6)
    with FakeAgent(port=agent.server_address[1]) as restarted:
        try:
            until(lambda: restarted.subscriptions, 1.8)
        finally:
            restarted.close()


def test_x5_an_agent_that_does_not_come_back_is_waited_for_as_long_as_it_said(
    start: Start, agent: FakeAgent, env: pytest.MonkeyPatch
) -> None:
    """Stock goes on for a day; long before, the build runs again elsewhere."""
    env.setenv("MESOS_RECOVERY_TIMEOUT", "300ms")
    agent.subscribe_status = lambda: 503
    _, recorder = start()
    assert recorder.end.wait(SOON)


def test_x6_an_agent_that_knows_the_executor_no_more_is_the_end(
    start: Start, agent: FakeAgent
) -> None:
    """400: stock's thread dies and tells nobody, so that the build goes on and pushes."""
    driver, recorder = start()
    until(lambda: driver.connected)
    agent.subscribe_status = lambda: 400
    agent.drop_connection()
    assert recorder.end.wait(SOON)


def test_x7_shutdown_leaves_the_builds_time_to_end(
    start: Start, agent: FakeAgent, env: pytest.MonkeyPatch, killed: list[tuple[int, int]]
) -> None:
    """Stock kills its own process group after the grace period, and misses other sessions."""
    env.setenv("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "50ms")
    driver, recorder = start()
    until(lambda: driver.connected)
    agent.streams[-1].put({"type": "SHUTDOWN"})
    assert recorder.end.wait(SOON)
    time.sleep(0.3)
    assert killed == []


def test_x8_what_is_said_after_shutdown_is_acknowledged(
    start: Start, agent: FakeAgent, env: pytest.MonkeyPatch
) -> None:
    """Stock hangs up before the builds could end, and so never hears that it arrived."""
    env.setenv("MESOS_LOCAL", "1")
    driver, recorder = start()
    until(lambda: driver.connected)
    agent.launch("b.1")
    until(lambda: driver.tasks)
    timer = threading.Timer(0.2, send, (driver, update("TASK_KILLED")))
    recorder.last_words = timer.start
    agent.streams[-1].put({"type": "SHUTDOWN"})
    until(lambda: agent.states() == ["TASK_KILLED"])
    # Emptied by an acknowledgement, and by nothing else.
    until(lambda: not driver.tasks, SOON)


def test_x9_a_launch_that_comes_twice_is_one_task(start: Start, agent: FakeAgent) -> None:
    """Stock asserts that it does not, and its thread is gone."""
    driver, recorder = start()
    until(lambda: driver.connected)
    agent.launch("b.1")
    agent.launch("b.1")
    agent.launch("b.2")
    until(lambda: recorder.launched == ["b.1", "b.2"], SOON)


def test_x10_a_task_stays_known_after_its_first_acknowledgement(
    start: Start, agent: FakeAgent
) -> None:
    driver, recorder = start()
    until(lambda: driver.connected)
    agent.launch("b.1")
    driver.sendStatusUpdate(update("TASK_RUNNING"))
    until(lambda: not driver.tasks)
    agent.launch("b.1")
    agent.launch("b.2")
    until(lambda: "b.2" in recorder.launched)
    assert recorder.launched == ["b.1", "b.2"]


def test_x11_the_token_is_shown_to_the_agent_and_to_nobody_else(
    start: Start, agent: FakeAgent
) -> None:
    driver, _ = start()
    until(lambda: driver.connected)
    driver.sendStatusUpdate(update("TASK_RUNNING"))
    until(lambda: agent.updates)
    assert agent.authorizations == {f"Bearer {TOKEN}"}
    assert TOKEN not in os.environ.values()


def test_x12_calls_go_to_the_agent_that_started_it(start: Start, agent: FakeAgent) -> None:
    """Several agents may live behind one address; MESOS_SLAVE_PID tells which one it is."""
    driver, _ = start()
    until(lambda: driver.connected)
    driver.sendStatusUpdate(update("TASK_RUNNING"))
    until(lambda: agent.updates)
    assert agent.paths == {"/slave(1)/api/v1/executor"}


def test_x13_the_kernel_looks_after_a_silent_agent(start: Start, agent: FakeAgent) -> None:
    """The agent's own heartbeats are half an hour apart."""
    driver, _ = start()
    until(lambda: driver.connected)
    port = f":{agent.server_address[1]:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    # Columns: number, local and remote address, state (01: established), queues, timer:when.
    timers = [row[5].partition(":")[0] for row in rows if row[2].endswith(port) and row[3] == "01"]
    assert timers == ["02"]


def test_x14_a_call_that_failed_says_why(start: Start, agent: FakeAgent) -> None:
    """Stock's other thread takes the connection from under the call: AttributeError."""
    driver, _ = start()
    until(lambda: driver.connected)

    def lose() -> None:
        agent.drop_connection()
        time.sleep(0.3)

    agent.message_status = lose
    with pytest.raises((OSError, http.client.HTTPException)):
        driver._send({"type": "MESSAGE", "message": {"data": ""}})


def test_x15_an_odd_duration_is_mesos_own_default(start: Start, env: pytest.MonkeyPatch) -> None:
    """Stock asserts."""
    env.setenv("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "soon")
    driver, _ = start()
    until(lambda: driver.connected)
    assert driver.grace_shutdown_period == 5.0


def test_x16_a_framework_message_may_hold_any_bytes(start: Start, agent: FakeAgent) -> None:
    """The API wants them in base64; stock puts into JSON what it is given."""
    driver, _ = start()
    until(lambda: driver.connected)
    driver.sendFrameworkMessage(b"\xff\0")
    assert agent.messages == [{"data": "/wA="}]
