"""pymesos' defects that are in calls, callbacks and what it is told: not ours (docs/pymesos.md)."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymesos import MesosSchedulerDriver

from builder_framework.errors import BuilderError, CallError, NotSubscribedError
from builder_framework.mesos import calls
from tests.unit.drivers import (
    BOTH,
    INFO,
    UPDATE,
    Callbacks,
    MakeDriver,
    kill,
    launch,
    ours,
    reconcile,
    revive,
    running,
)
from tests.unit.scripted_master import ScriptedMaster
from tests.unit.waiting import until


@pytest.fixture
def master() -> Iterator[ScriptedMaster]:
    made = ScriptedMaster()
    yield made
    made.close()


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
        until(lambda: callbacks.updates == 2 or driver.aborted)
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


@BOTH
def test_p4_a_call_without_an_answer_ends(
    make: MakeDriver, master: ScriptedMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stock's time-out of calls is shadowed by one of 24 h for something else."""
    monkeypatch.setattr(calls, "CALL_TIMEOUT", 0.3)
    monkeypatch.setattr(MesosSchedulerDriver, "_timeout", 0.3)
    master.call_status = None
    with running(make(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        failed = threading.Event()
        threading.Thread(target=_revive_in_vain, args=(driver, failed), daemon=True).start()
        try:
            assert failed.wait(3)
        finally:
            master.close()  # or stock would hold its lock for a day


@BOTH
def test_p4b_a_call_without_an_answer_holds_up_nobody(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    """Stock keeps the lock that `connected`, `change_master` and its own I/O need."""
    master.call_status = None
    with running(make(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        failed = threading.Event()
        threading.Thread(target=_revive_in_vain, args=(driver, failed), daemon=True).start()
        master.wait_for("REVIVE")
        answers: list[bool] = []
        threading.Thread(target=lambda: answers.append(driver.connected), daemon=True).start()
        try:
            until(lambda: answers, 2)
        finally:
            master.close()


def _revive_in_vain(driver: Any, failed: threading.Event) -> None:
    try:
        revive(driver)
    except (BuilderError, OSError):
        failed.set()


@BOTH
def test_p19_a_call_that_was_not_sent_says_so(make: MakeDriver) -> None:
    """Stock returns None, which looks exactly like success."""
    driver = make(Callbacks(), "127.0.0.1:1")
    with pytest.raises(NotSubscribedError):
        kill(driver, "t", "a")


@pytest.mark.parametrize(
    "call",
    [
        lambda driver: driver.revive(),
        lambda driver: driver.suppress(),
        lambda driver: driver.decline(["o"], 1.0),
        lambda driver: driver.accept(["o"], [], 1.0),
        lambda driver: driver.reconcile([]),
        lambda driver: driver.acknowledge({}),
        lambda driver: driver.shutdown_executor("e", "a"),
        lambda driver: driver.message("e", "a", b"x"),
    ],
)
def test_every_call_says_when_it_was_not_sent(call: Callable[[Any], None]) -> None:
    with pytest.raises(NotSubscribedError):
        call(ours(Callbacks(), "127.0.0.1:1", framework_id="f1"))


@BOTH
def test_p20_a_connection_that_was_closed_while_idle_costs_no_call(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    master.keeps_alive = False
    with running(make(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        revive(driver)
        time.sleep(0.2)
        revive(driver)
    assert len(master.of_type("REVIVE")) == 2


@BOTH
def test_p21_nobody_sends_the_credentials_of_another_driver(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    """Stock keeps its headers in a default argument, for all drivers of the process."""
    try:
        for credentials in ({"principal": "p", "secret": "s3cret"}, {}):
            with running(make(Callbacks(), master, **credentials)) as driver:
                until(lambda: driver.connected)
                revive(driver)
    finally:
        MesosSchedulerDriver._send.__defaults__[-1].clear()
    sent = list(zip(master.calls, master.headers, strict=True))
    revives = [headers for body, headers in sent if body["type"] == "REVIVE"]
    assert ["Authorization" in headers for headers in revives] == [True, False]


@BOTH
def test_p22_errors_of_calls_never_show_the_call(make: MakeDriver, master: ScriptedMaster) -> None:
    """It may be a launch, with every secret of a build."""
    master.call_status = 400
    with running(make(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        with pytest.raises((CallError, RuntimeError)) as caught:
            launch(driver, "o1", {"data": "canary"})
    assert "canary" not in str(caught.value)
    assert "400" in str(caught.value)


@BOTH
def test_p23_a_kill_names_the_agent(make: MakeDriver, master: ScriptedMaster) -> None:
    """After a master failover the master does not know the task yet."""
    with running(make(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        kill(driver, "t1", "a1")
    call = master.wait_for("KILL")["kill"]
    assert call.get("agent_id") == {"value": "a1"}
    assert call["kill_policy"] == {"grace_period": {"nanoseconds": 7 * 10**9}}


@BOTH
def test_p24_a_question_about_a_task_names_the_agent(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    """Without it the master is silent as long as any agent is still to come back."""
    with running(make(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        reconcile(driver, "t1", "a1")
    (task,) = master.wait_for("RECONCILE")["reconcile"]["tasks"]
    assert task == {"task_id": {"value": "t1"}, "agent_id": {"value": "a1"}}


@BOTH
def test_p26_the_failover_timeout_is_what_it_was_told_to_be(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    """Stock adds one of 100 s, in which no framework is redeployed."""
    info = {"name": "builder", "user": "root"}
    with running(make(Callbacks(), master, info=info)):
        call = master.wait_for("SUBSCRIBE")
    assert call["subscribe"]["framework_info"] == {"name": "builder", "user": "root"}


@BOTH
def test_p27_agents_with_gpus_are_left_to_others(make: MakeDriver, master: ScriptedMaster) -> None:
    master.get = {"version": "1.11.0"}
    with running(make(Callbacks(), master)):
        call = master.wait_for("SUBSCRIBE")
    info = call["subscribe"]["framework_info"]
    assert info["capabilities"] == [{"type": "PARTITION_AWARE"}]


def test_a_known_framework_id_is_sent_twice_as_mesos_wants_it(master: ScriptedMaster) -> None:
    with running(ours(Callbacks(), master, framework_id="f9")):
        call = master.wait_for("SUBSCRIBE")
    info = call["subscribe"]["framework_info"]
    assert (call["framework_id"], info["id"]) == ({"value": "f9"}, {"value": "f9"})
    assert info["failover_timeout"] == 1000.0


@BOTH
def test_p32_a_loss_may_come_without_its_optional_fields(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    callbacks = Callbacks()
    failure = {"agent_id": {"value": "a"}, "executor_id": {"value": "e"}}
    master.events += [{"type": "FAILURE", "failure": failure}]
    with running(make(callbacks, master)) as driver:
        until(lambda: callbacks.lost or driver.aborted)
    assert callbacks.lost == ["e"]


@BOTH
def test_p34_a_secret_may_have_any_letters(make: MakeDriver, master: ScriptedMaster) -> None:
    with running(make(Callbacks(), master, principal="büro", secret="schlüssel ✓")):
        master.wait_for("SUBSCRIBE")
    assert master.headers[0]["Authorization"] == "Basic YsO8cm86c2NobMO8c3NlbCDinJM="


MODULES = pytest.mark.parametrize(
    "module",
    [
        "builder_framework.mesos.driver",
        pytest.param("pymesos", marks=pytest.mark.xfail(strict=True, reason="the defect")),
    ],
)


def _holds(code: str) -> bool:
    """In a process of its own, because it is about what an import does."""
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@MODULES
def test_p17_interrupts_stay_the_applications(module: str) -> None:
    """Stock takes SIGINT's handler at import and interrupts the main thread when its own dies."""
    assert _holds(
        "import signal; before = signal.getsignal(signal.SIGINT)\n"
        f"import {module}\n"
        "assert signal.getsignal(signal.SIGINT) is before"
    )


@MODULES
def test_p35_the_log_has_one_handler(module: str) -> None:
    assert _holds(f"import logging, {module}\nassert not logging.getLogger('pymesos').handlers")


@BOTH
def test_p37_the_framework_info_of_the_caller_is_left_alone(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    info = dict(INFO)
    with running(make(Callbacks(), master, info=info)) as driver:
        until(lambda: driver.framework_id == "f1")
    assert info == INFO
