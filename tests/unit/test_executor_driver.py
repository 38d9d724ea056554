"""Against a small agent that can lose, repeat and refuse: no update is lost, none is doubled.

A real agent cannot be told to drop an acknowledgement; what it can be made to do is tested on one.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from addict import Dict
from pymesos import Executor

from executor import driver as driver_module
from executor.connection import Refused
from executor.driver import ExecutorDriver
from executor.outbox import Outbox
from tests.unit.executor_agent import FakeAgent
from tests.unit.waiting import until

TOKEN = "canary-token"
PATH = "/slave(1)/api/v1/executor"


class Recorder(Executor):  # type: ignore[misc]
    """An executor and listener that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.ended = threading.Event()

    def registered(self, _driver: Any, *_infos: Dict) -> None:
        self.heard.append(("registered",))

    def reregistered(self, _driver: Any, agent: Dict) -> None:
        self.heard.append(("reregistered", agent.hostname))

    def disconnected(self, _driver: Any) -> None:
        self.heard.append(("disconnected",))

    def launchTask(self, _driver: Any, task: Dict) -> None:  # noqa: N802
        self.heard.append(("launch", task.task_id.value))
        if task.task_id.value == "broken":
            raise KeyError("a defect")

    def kill(self, task_id: str, grace: float | None) -> None:
        self.heard.append(("kill", task_id, grace))

    def framework_message(self, data: bytes) -> None:
        self.heard.append(("message", data))

    def stop_all(self) -> None:
        self.heard.append(("stop_all",))

    def driver_ended(self, why: str) -> None:
        self.heard.append(("ended", why))
        self.ended.set()


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    with FakeAgent() as running:
        yield running
        for stream in running.streams:
            stream.put(None)
        running.shutdown()


@pytest.fixture
def env(agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in agent.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", TOKEN)
    return monkeypatch


class Start(Protocol):
    def __call__(self, outbox: Outbox | None = None) -> tuple[ExecutorDriver, Recorder]: ...


@pytest.fixture
def start(env: pytest.MonkeyPatch) -> Iterator[Start]:
    started: list[ExecutorDriver] = []

    def run(outbox: Outbox | None = None) -> tuple[ExecutorDriver, Recorder]:
        recorder = Recorder()
        driver = ExecutorDriver(recorder, recorder, outbox=outbox)
        started.append(driver)
        driver.start()
        return driver, recorder

    yield run
    for driver in started:
        driver.stop()
        driver.join()


def update(state: str, task_id: str = "b.1") -> dict[str, Any]:
    return {"task_id": {"value": task_id}, "state": state}


def test_it_subscribes_where_and_as_whom_it_should(start: Start, agent: FakeAgent) -> None:
    """X11, X12: the path of this agent's own process, with the token, which no child inherits."""
    driver, recorder = start()
    until(lambda: driver.connected)
    until(lambda: recorder.heard == [("registered",)])
    driver.sendStatusUpdate(update("TASK_RUNNING"))
    until(lambda: agent.updates)
    assert agent.paths == {PATH}
    assert agent.authorizations == {f"Bearer {TOKEN}"}
    assert "MESOS_EXECUTOR_AUTHENTICATION_TOKEN" not in os.environ
    assert driver.grace_shutdown_period == 7.0


def test_an_update_made_while_disconnected_arrives(start: Start, agent: FakeAgent) -> None:
    """X2: pymesos raised and forgot it; a FINISHED lost so is a build pushed twice."""
    agent.subscribe_status = lambda: 503
    driver, _ = start()
    until(lambda: len(agent.subscriptions) > 1)
    driver.sendStatusUpdate(update("TASK_FINISHED"))
    assert not driver.wait_drained(0.2)
    agent.subscribe_status = lambda: 200
    assert driver.wait_drained(5)
    listed = agent.subscriptions[-1][1]["unacknowledged_updates"]
    assert [item["status"]["state"] for item in listed] == ["TASK_FINISHED"]
    assert agent.states() == ["TASK_FINISHED"]
    assert agent.updates[0]["uuid"] == listed[0]["status"]["uuid"]


def test_what_is_not_acknowledged_is_sent_again(start: Start, agent: FakeAgent) -> None:
    """The same update, with the same uuid, in the same order, after every subscription."""
    agent.acknowledge = False
    driver, _ = start()
    until(lambda: driver.connected)
    agent.launch("b.1")
    for state in ("TASK_RUNNING", "TASK_FINISHED"):
        driver.sendStatusUpdate(update(state))
    until(lambda: len(agent.updates) == 2)
    agent.drop_connection()
    until(lambda: len(agent.updates) == 4)
    assert agent.updates[2:] == agent.updates[:2]
    subscribe = agent.subscriptions[-1][1]
    assert [task["task_id"]["value"] for task in subscribe["unacknowledged_tasks"]] == ["b.1"]
    assert [item["status"] for item in subscribe["unacknowledged_updates"]] == agent.updates[:2]
    agent.acknowledge_update(agent.updates[0])
    until(lambda: len(driver.outbox) == 1)
    agent.acknowledge = True
    agent.drop_connection()
    assert driver.wait_drained(5)
    assert agent.states()[4:] == ["TASK_FINISHED"]
    assert agent.subscriptions[-1][1]["unacknowledged_tasks"] == []


@pytest.mark.parametrize("status", [500, 503, 403, 404])
def test_a_refused_update_is_tried_again(start: Start, agent: FakeAgent, status: int) -> None:
    answers = iter([status, status])
    agent.update_status = lambda: next(answers, 202)
    driver, _ = start()
    driver.sendStatusUpdate(update("TASK_RUNNING"))
    driver.sendStatusUpdate(update("TASK_FAILED"))
    assert driver.wait_drained(5)
    assert agent.states() == ["TASK_RUNNING", "TASK_FAILED"]


def test_an_unknown_acknowledgement_is_harmless(start: Start, agent: FakeAgent) -> None:
    driver, _ = start()
    until(lambda: driver.connected)
    agent.send(
        acknowledged={
            "task_id": {"value": "x"},
            "uuid": base64.b64encode(uuid.uuid4().bytes).decode(),
        }
    )
    driver.sendStatusUpdate(update("TASK_RUNNING"))
    assert driver.wait_drained(5)


def test_a_lost_agent_is_looked_for_often(start: Start, agent: FakeAgent) -> None:
    """X4, P7: within the 2 s that an agent waits by default, but without a storm."""
    driver, recorder = start()
    until(lambda: driver.connected)
    agent.subscribe_status = lambda: 503
    agent.drop_connection()
    time.sleep(2.5)
    times = [moment for moment, _ in agent.subscriptions][1:]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert 4 <= len(times) <= 15
    assert max(gaps) < 0.7
    agent.subscribe_status = lambda: 200
    until(lambda: driver.connected, 1.0)
    until(lambda: ("reregistered", "agent.example") in recorder.heard)
    assert recorder.heard.count(("disconnected",)) == 1


def test_an_agent_that_does_not_come_back(
    start: Start, agent: FakeAgent, env: pytest.MonkeyPatch
) -> None:
    """X5: after MESOS_RECOVERY_TIMEOUT its build would be built again elsewhere."""
    env.setenv("MESOS_RECOVERY_TIMEOUT", "700ms")
    agent.subscribe_status = lambda: 503
    began = time.monotonic()
    _, recorder = start()
    assert recorder.ended.wait(5)
    assert 0.6 < time.monotonic() - began < 2
    assert "did not come back" in recorder.heard[-1][1]


def test_a_connection_that_was_silent_for_long_may_still_come_back(
    start: Start, agent: FakeAgent, env: pytest.MonkeyPatch
) -> None:
    """A build hears nothing while it builds; what counts is how long the agent has been away."""
    env.setenv("MESOS_RECOVERY_TIMEOUT", "15mins")
    driver, recorder = start()
    until(lambda: driver.connected)
    hours_later = driver_module.now() + 36000.0
    env.setattr(driver_module, "now", lambda: hours_later)
    agent.drop_connection()
    until(lambda: len(agent.subscriptions) == 2 and driver.connected)
    assert not recorder.ended.is_set()


def test_time_that_the_machine_slept_counts(
    start: Start, agent: FakeAgent, env: pytest.MonkeyPatch
) -> None:
    """The framework's clock went on; its build runs elsewhere by then."""
    driver, recorder = start()
    until(lambda: driver.connected)
    agent.subscribe_status = lambda: 503
    agent.drop_connection()
    until(lambda: not driver.connected)
    awake = driver_module.now() + 901.0
    env.setattr(driver_module, "now", lambda: awake)
    assert recorder.ended.wait(5)
    assert "did not come back" in recorder.heard[-1][1]


def test_what_another_process_left_is_delivered_first(
    start: Start, agent: FakeAgent, tmp_path: Path
) -> None:
    path = tmp_path / "outbox.json"
    Outbox(path).add(update("TASK_FINISHED"))
    driver, _ = start(Outbox(path))
    driver.sendStatusUpdate(update("TASK_RUNNING", "b.2"))
    assert driver.wait_drained(5)
    assert agent.states() == ["TASK_FINISHED", "TASK_RUNNING"]
    until(lambda: not Outbox(path))


def test_framework_messages_go_both_ways(start: Start, agent: FakeAgent) -> None:
    driver, recorder = start()
    until(lambda: driver.connected)
    agent.send(message={"data": base64.b64encode(b"\xff{}").decode()})
    until(lambda: ("message", b"\xff{}") in recorder.heard)
    driver.sendFrameworkMessage(b"\0answer")
    assert [base64.b64decode(message["data"]) for message in agent.messages] == [b"\0answer"]


def test_a_framework_message_that_was_not_taken_is_told(start: Start, agent: FakeAgent) -> None:
    driver, _ = start()
    until(lambda: driver.connected)
    agent.message_status = lambda: 403
    with pytest.raises(Refused, match="403"):
        driver.sendFrameworkMessage(b"")
    agent.message_status = lambda: None
    with pytest.raises((OSError, http.client.HTTPException)):
        driver.sendFrameworkMessage(b"")


def test_a_name_that_does_not_resolve_yet_is_asked_for_again(
    start: Start, env: pytest.MonkeyPatch
) -> None:
    """P10: an error of the resolver ended the I/O thread."""
    failures = iter([socket.gaierror(-3, "Temporary failure in name resolution")] * 2)
    resolve = socket.getaddrinfo

    def flaky(*arguments: Any, **options: Any) -> Any:
        for failure in failures:
            raise failure
        return resolve(*arguments, **options)

    env.setattr(socket, "getaddrinfo", flaky)
    driver, _ = start()
    until(lambda: driver.connected)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_an_agent_that_does_not_know_us_any_more(
    start: Start, agent: FakeAgent, status: int
) -> None:
    """X6: 'Executor cannot be found' ended the I/O thread, and the build went on unheard."""
    driver, recorder = start()
    until(lambda: driver.connected)
    agent.subscribe_status = lambda: status
    agent.drop_connection()
    assert recorder.ended.wait(5)
    assert str(status) in recorder.heard[-1][1]
    assert not driver.connected


def test_without_checkpointing_a_lost_agent_is_the_end(
    start: Start, agent: FakeAgent, env: pytest.MonkeyPatch
) -> None:
    """X1: MESOS_CHECKPOINT is '0' then, which is a true string."""
    env.setenv("MESOS_CHECKPOINT", "0")
    driver, recorder = start()
    until(lambda: driver.connected)
    agent.drop_connection()
    assert recorder.ended.wait(5)
    assert "checkpointing" in recorder.heard[-1][1]
    assert len(agent.subscriptions) == 1


@pytest.mark.filterwarnings("error")
def test_a_defect_in_a_callback_costs_one_event(
    start: Start, agent: FakeAgent, caplog: pytest.LogCaptureFixture
) -> None:
    """P2: it ended the I/O thread."""
    driver, recorder = start()
    until(lambda: driver.connected)
    with caplog.at_level(logging.CRITICAL):
        agent.launch("broken")
        agent.send(kill={})
        agent.streams[-1].put({"type": "UNHEARD_OF", "unheard_of": {}})
        agent.streams[-1].put({"no": "type"})
        agent.streams[-1].put({"type": "HEARTBEAT"})
        agent.launch("sound")
        until(lambda: ("launch", "sound") in recorder.heard)
    assert driver.connected
    assert len(agent.subscriptions) == 1


def test_a_defect_at_the_loss_of_the_agent_does_not_end_the_search_for_it(
    start: Start, agent: FakeAgent, env: pytest.MonkeyPatch
) -> None:
    def broken(_self: Recorder, _driver: object) -> None:
        raise KeyError("a defect")

    env.setattr(Recorder, "disconnected", broken)
    driver, recorder = start()
    until(lambda: driver.connected)
    agent.drop_connection()
    until(lambda: ("reregistered", "agent.example") in recorder.heard)


def test_a_second_launch_is_ignored(start: Start, agent: FakeAgent) -> None:
    """X9: an assert on it ended the driver. It stays known after its acknowledgement."""
    driver, recorder = start()
    until(lambda: driver.connected)
    agent.launch("b.1")
    agent.launch("b.1")
    driver.sendStatusUpdate(update("TASK_RUNNING"))
    assert driver.wait_drained(5)
    agent.launch("b.1")
    agent.send(launch_group={"task_group": {"tasks": [{"task_id": {"value": "b.2"}}]}})
    until(lambda: ("launch", "b.2") in recorder.heard)
    assert recorder.heard.count(("launch", "b.1")) == 1


def test_kill_and_shutdown_are_handed_on(start: Start, agent: FakeAgent) -> None:
    """X8: SHUTDOWN does not abort the driver: the last updates have yet to leave."""
    driver, recorder = start()
    until(lambda: driver.connected)
    agent.send(kill={"task_id": {"value": "a"}})
    policy = {"grace_period": {"nanoseconds": 1_500_000_000}}
    agent.send(kill={"task_id": {"value": "b"}, "kill_policy": policy})
    agent.streams[-1].put({"type": "SHUTDOWN"})
    until(lambda: ("stop_all",) in recorder.heard)
    assert recorder.heard[1:] == [("kill", "a", None), ("kill", "b", 1.5), ("stop_all",)]
    driver.sendStatusUpdate(update("TASK_KILLED"))
    assert driver.wait_drained(5)


def test_stopping_takes_no_time(start: Start, agent: FakeAgent) -> None:
    """And neither interrupts the main thread nor kills its group (P17, X7)."""
    interrupted: list[object] = []
    before = signal.signal(signal.SIGINT, lambda *_: interrupted.append(1))
    try:
        driver, recorder = start()
        until(lambda: driver.connected)
        began = time.monotonic()
        driver.stop()
        driver.join()
        assert time.monotonic() - began < 1
        assert recorder.heard[-1] == ("ended", "stopped")
        time.sleep(0.05)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not interrupted
