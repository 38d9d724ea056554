"""The dangerous edges of pymesos 0.3.15 are fenced: each test passes on ours, not on stock.

Where stock pymesos runs through the same scenario it is expected to fail, strictly: should a new
release mend it, these tests say so.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymesos import MesosSchedulerDriver, Scheduler

from builder_framework.errors import CallError, NotSubscribedError
from builder_framework.mesos import driver as driver_module
from builder_framework.mesos.driver import SchedulerDriver
from tests.unit.scripted_master import ScriptedMaster, subscribed
from tests.unit.waiting import until

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
MakeDriver = Callable[[Any, ScriptedMaster], Any]


class Callbacks(Scheduler):  # type: ignore[misc]
    """Counts what comes in; `defect` is raised by the callback for a status update."""

    def __init__(self, defect: Exception | None = None) -> None:
        self.defect = defect
        self.updates = 0
        self.reasons: list[str] = []

    def statusUpdate(self, driver: Any, update: Any) -> None:  # noqa: N802, ARG002
        self.updates += 1
        if self.defect is not None:
            raise self.defect

    def broken(self, message: str) -> None:
        self.reasons.append(message)


def ours(callbacks: Any, master: ScriptedMaster) -> Any:
    return SchedulerDriver(callbacks, INFO, master.address)


def stock(callbacks: Any, master: ScriptedMaster) -> Any:
    return MesosSchedulerDriver(callbacks, dict(INFO), master.address, use_addict=True)


BOTH = pytest.mark.parametrize(
    "make", [ours, pytest.param(stock, marks=pytest.mark.xfail(strict=True, reason="the defect"))]
)


@pytest.fixture
def master() -> Iterator[ScriptedMaster]:
    made = ScriptedMaster()
    yield made
    made.close()


@contextlib.contextmanager
def running(driver: Any) -> Iterator[Any]:
    """The driver, started, and ended whatever happens."""
    driver.start()
    try:
        yield driver
    finally:
        # Stock's stop(False) would tear down; its thread may be dead already.
        driver.stop(True)
        with contextlib.suppress(RuntimeError):
            driver.join()


@BOTH
def test_p1_the_end_of_the_driver_is_not_the_end_of_the_builds(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    """stop() without arguments: stock sends TEARDOWN, which kills every task of the framework."""
    with running(make(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        driver.stop()
        driver.join()
    assert master.of_type("TEARDOWN") == []


@BOTH
def test_p2_an_exception_in_a_callback_costs_one_event_not_the_driver(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    master.events += [UPDATE, UPDATE]
    callbacks = Callbacks(defect=ValueError("a defect of ours"))
    with running(make(callbacks, master)) as driver:
        until(lambda: callbacks.updates >= 1)
        time.sleep(0.3)
        assert callbacks.updates == 2
        assert not driver.aborted


@BOTH
def test_p3_no_update_is_acknowledged_before_somebody_says_so(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    master.events += [UPDATE]
    callbacks = Callbacks()
    with running(make(callbacks, master)):
        until(lambda: callbacks.updates == 1)
        time.sleep(0.3)
    assert master.of_type("ACKNOWLEDGE") == []


def test_p4_a_call_without_an_answer_ends_and_holds_up_nobody(
    master: ScriptedMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stock waits for 24 h, with the lock that `connected` and `change_master` need."""
    monkeypatch.setattr(driver_module, "CALL_TIMEOUT", 0.5)
    master.call_status = None
    with running(ours(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        errors: list[Exception] = []

        def revive() -> None:
            try:
                driver.revive()
            except CallError as error:
                errors.append(error)

        caller = threading.Thread(target=revive)
        caller.start()
        began = time.monotonic()
        assert driver.connected
        assert time.monotonic() - began < 0.3
        caller.join(5)
        assert len(errors) == 1
    assert MesosSchedulerDriver(Callbacks(), {}, "h:1")._timeout == 86400


def test_p5_a_stream_that_fell_silent_is_noticed_and_replaced(master: ScriptedMaster) -> None:
    master.events = [subscribed(heartbeat=0.01)]
    with running(ours(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        driver._last_event -= 5.0 + 5 * 0.01
        assert driver.silent
        assert not driver.subscribed
        driver.reconnect()
        master.wait_for("SUBSCRIBE", 2)
        until(lambda: driver.subscribed)


@BOTH
def test_p7_a_master_that_is_not_ready_is_not_stormed(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    """Stock subscribes thousands of times per second."""
    master.refuse = 503
    with running(make(Callbacks(), master)):
        time.sleep(2.0)
    assert 1 <= len(master.of_type("SUBSCRIBE")) <= 6


@BOTH
def test_p8_an_error_of_the_master_ends_it_for_good(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    """The id is dead, or another scheduler has it: subscribing again helps nobody."""
    master.events += [{"type": "ERROR", "error": {"message": "Framework has been removed"}}]
    callbacks = Callbacks()
    with running(make(callbacks, master)):
        time.sleep(1.5)
    assert len(master.of_type("SUBSCRIBE")) == 1
    assert callbacks.reasons == ["Framework has been removed"]
    assert master.of_type("TEARDOWN") == []


def test_p18_a_driver_without_a_stream_does_not_say_it_is_subscribed(
    master: ScriptedMaster,
) -> None:
    with running(ours(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        master.refuse = 503
        master.close()
        until(lambda: not driver.connected)
        assert not driver.subscribed


@pytest.mark.parametrize(
    "call",
    [
        lambda driver: driver.revive(),
        lambda driver: driver.suppress(),
        lambda driver: driver.kill("t", "a", 5.0),
        lambda driver: driver.decline(["o"], 1.0),
        lambda driver: driver.accept(["o"], [], 1.0),
        lambda driver: driver.reconcile([]),
        lambda driver: driver.acknowledge({}),
        lambda driver: driver.shutdown_executor("e", "a"),
    ],
)
def test_p19_a_call_that_was_not_sent_says_so(call: Callable[[Any], None]) -> None:
    """Stock returns None, which looks exactly like success."""
    driver = SchedulerDriver(Callbacks(), INFO, "127.0.0.1:1", framework_id="f1")
    with pytest.raises(NotSubscribedError):
        call(driver)
    assert MesosSchedulerDriver(Callbacks(), {}, "h:1").killTask({"value": "t"}) is None


def test_p20_p21_each_call_has_its_own_connection_and_headers(master: ScriptedMaster) -> None:
    """Stock sent one driver's credentials with the next driver's calls."""
    first = SchedulerDriver(Callbacks(), INFO, master.address, principal="p", secret="s3cret")
    with running(first) as driver:
        until(lambda: driver.connected)
        driver.revive()
    with running(ours(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        driver.revive()
        driver.suppress()
    calls = list(zip(master.calls, master.headers, strict=True))
    revives = [headers for body, headers in calls if body["type"] == "REVIVE"]
    assert ["Authorization" in headers for headers in revives] == [True, False]


def test_p22_errors_of_calls_never_show_the_call(master: ScriptedMaster) -> None:
    """It may be a launch, with every secret of a build."""
    master.call_status = 400
    with running(ours(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        with pytest.raises(CallError) as caught:
            driver.accept(["o1"], [{"data": "canary"}], 1.0)
    assert "canary" not in str(caught.value)
    assert "400" in str(caught.value)


def test_p23_p24_kills_and_questions_name_the_agent(master: ScriptedMaster) -> None:
    with running(ours(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        driver.kill("t1", "a1", 7.0)
        driver.reconcile([("t1", "a1")])
    kill = master.wait_for("KILL")["kill"]
    assert kill["agent_id"] == {"value": "a1"}
    assert kill["kill_policy"] == {"grace_period": {"nanoseconds": 7 * 10**9}}
    (task,) = master.wait_for("RECONCILE")["reconcile"]["tasks"]
    assert task == {"task_id": {"value": "t1"}, "agent_id": {"value": "a1"}}


def test_p26_p27_it_subscribes_as_what_it_was_told_to_be(master: ScriptedMaster) -> None:
    """Stock adds GPU_RESOURCES, and 100 s of failover timeout where none is given."""
    driver = SchedulerDriver(Callbacks(), INFO, master.address, framework_id="f9")
    with running(driver):
        call = master.wait_for("SUBSCRIBE")
    info = call["subscribe"]["framework_info"]
    assert info["capabilities"] == [{"type": "PARTITION_AWARE"}]
    assert info["failover_timeout"] == 1000.0
    assert (call["framework_id"], info["id"]) == ({"value": "f9"}, {"value": "f9"})
    assert "id" not in INFO
