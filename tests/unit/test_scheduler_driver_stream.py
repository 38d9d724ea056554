"""pymesos' defects that are in its connection and its loop: not ours (docs/pymesos.md)."""

from __future__ import annotations

import logging
import os
import resource
import socket
import time
from collections.abc import Iterator
from typing import Any

import pymesos.process
import pytest

from builder_framework.mesos import driver as driver_module
from builder_framework.mesos import masters, stream
from tests.unit.drivers import BOTH, UPDATE, Callbacks, MakeDriver, ours, running
from tests.unit.scripted_master import Json, ScriptedMaster, record, subscribed
from tests.unit.waiting import until


@pytest.fixture
def master() -> Iterator[ScriptedMaster]:
    made = ScriptedMaster()
    yield made
    made.close()


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are told by tests of their own."""
    monkeypatch.setattr(masters, "FIRST_BACKOFF", 0.1)
    monkeypatch.setattr(driver_module, "NOT_ALLOWED_BACKOFF", 0.1)


@BOTH
def test_p5_a_stream_that_fell_silent_is_noticed_and_replaced(
    make: MakeDriver, master: ScriptedMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "HEARTBEAT_GRACE", 0.3)
    master.events = [subscribed(heartbeat=0.01)]
    with running(make(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        until(lambda: len(master.of_type("SUBSCRIBE")) == 2, 3)


def test_heartbeats_keep_a_stream(master: ScriptedMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "HEARTBEAT_GRACE", 0.5)
    master.events = [subscribed(heartbeat=0.1)]
    with running(ours(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        for _ in range(15):
            master.say({"type": "HEARTBEAT"})
            time.sleep(0.1)
        assert driver.subscribed
    assert len(master.of_type("SUBSCRIBE")) == 1


@BOTH
def test_p6_a_master_that_takes_the_connection_and_no_more_is_given_up(
    make: MakeDriver, master: ScriptedMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SUBSCRIBE_TIMEOUT", 0.3)
    master.mute = True
    with running(make(Callbacks(), master)) as driver:
        master.wait_for("SUBSCRIBE")
        master.mute = False
        until(lambda: driver.connected, 3)


@BOTH
def test_p7_a_master_that_is_not_ready_is_not_stormed(
    make: MakeDriver, master: ScriptedMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stock subscribes thousands of times per second."""
    monkeypatch.setattr(masters, "FIRST_BACKOFF", 0.5)
    master.refuse = 503
    callbacks = Callbacks()
    with running(make(callbacks, master)):
        time.sleep(2.0)
    assert 2 <= len(master.of_type("SUBSCRIBE")) <= 6
    assert callbacks.disconnections == 0


@BOTH
def test_p8_an_error_of_the_master_ends_it_for_good(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    """The id is dead, or another scheduler has it: subscribing again helps nobody."""
    master.events += [{"type": "ERROR", "error": {"message": "Framework has been removed"}}]
    callbacks = Callbacks()
    with running(make(callbacks, master)) as driver:
        master.wait_for("SUBSCRIBE")
        time.sleep(0.5)
        master.hang_up()
        time.sleep(0.5)
        assert len(master.of_type("SUBSCRIBE")) == 1
        assert callbacks.reasons == ["Framework has been removed"]
        assert driver.aborted
    assert master.of_type("TEARDOWN") == []


@BOTH
@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_p9_a_refusal_is_told_and_tried_again(
    make: MakeDriver, master: ScriptedMaster, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    master.refuse, master.reason = status, "principal 'x' is not allowed"
    with running(make(Callbacks(), master)) as driver:
        until(lambda: driver.aborted or len(master.of_type("SUBSCRIBE")) >= 2)
        master.refuse = None
        until(lambda: driver.aborted or driver.connected)
        assert driver.connected
    told = [entry for entry in caplog.records if entry.levelno == logging.ERROR]
    assert f"{status} to SUBSCRIBE: principal 'x' is not allowed" in told[0].getMessage()


@BOTH
def test_p10_a_name_that_does_not_resolve_now_may_do_so_later(
    make: MakeDriver, master: ScriptedMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo
    asked: list[Any] = []

    def fail_first(host: Any, *more: Any, **others: Any) -> Any:
        asked.append(host)
        if len(asked) < 3:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return resolve("127.0.0.1", *more, **others)

    monkeypatch.setattr(socket, "getaddrinfo", fail_first)
    with running(make(Callbacks(), f"master.invalid:{master.port}")) as driver:
        until(lambda: driver.aborted or driver.connected)
        assert driver.connected


@BOTH
def test_p10_a_master_may_have_an_ipv6_address(make: MakeDriver) -> None:
    master = ScriptedMaster(host="::1")
    try:
        with running(make(Callbacks(), master)) as driver:
            until(lambda: driver.aborted or driver.connected)
            assert driver.connected
            driver.revive()
            assert len(master.of_type("REVIVE")) == 1
    finally:
        master.close()


@BOTH
def test_p11_a_clock_that_jumps_ends_nothing(
    make: MakeDriver, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stock gives up for good when its deadline, in wall-clock time, has passed."""
    monkeypatch.setattr(pymesos.process, "SLEEP_TIMEOUT_INIT", 0.05)
    now, jump = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: now() + jump[0])
    with running(make(Callbacks(), nobody)) as driver:
        for days in (2, -2):
            time.sleep(0.4)
            jump[0] += days * 86400
            looked = time.monotonic()
            while not driver.aborted and time.monotonic() - looked < 1.5:
                time.sleep(0.05)
        assert not driver.aborted


@BOTH
def test_p12_a_process_may_have_more_than_1024_files_open(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(2048, limits[0]), limits[1]))
    null = os.open(os.devnull, os.O_RDONLY)
    taken = [null, *(os.dup(null) for _ in range(1100))]
    try:
        with running(make(Callbacks(), master)) as driver:
            until(lambda: driver.aborted or driver.connected)
            assert driver.connected
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@BOTH
def test_p13_a_master_may_have_any_version(make: MakeDriver, master: ScriptedMaster) -> None:
    master.get = {"version": "1.12.0-rc1"}
    with running(make(Callbacks(), master)) as driver:
        until(lambda: driver.aborted or driver.connected)
        assert driver.connected


@BOTH
def test_p14_a_redirection_to_nowhere_is_another_try(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    master.refuse = 307
    with running(make(Callbacks(), master)) as driver:
        until(lambda: driver.aborted or len(master.of_type("SUBSCRIBE")) >= 2)
        master.refuse = None
        until(lambda: driver.aborted or driver.connected)
        assert driver.connected


@BOTH
def test_p18_a_driver_without_a_stream_does_not_say_it_is_subscribed(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    """Stock's thread ends at a record that is no JSON, and it stays `connected`."""
    with running(make(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        master.refuse = 503
        master.raw(b"3\n{x}")
        until(lambda: not driver.connected, 2)


@BOTH
def test_p28_a_stream_out_of_step_is_replaced(make: MakeDriver, master: ScriptedMaster) -> None:
    """Stock collects bytes for ever and stays `connected`."""
    with running(make(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        master.raw(b"this is no length of a record, nor will it be one")
        until(lambda: len(master.of_type("SUBSCRIBE")) == 2, 2)
        until(lambda: driver.connected)


@BOTH
def test_p30_a_wait_ends_when_a_leader_is_known(
    make: MakeDriver, master: ScriptedMaster, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in [(pymesos.process, "SLEEP_TIMEOUT_INIT"), (masters, "FIRST_BACKOFF")]:
        monkeypatch.setattr(module, name, 10.0)
    with running(make(Callbacks(), nobody)) as driver:
        time.sleep(0.3)
        driver.change_master(master.address)
        until(lambda: driver.connected, 3)


@BOTH
def test_p31_a_new_leader_may_have_the_address_of_the_old_one(
    make: MakeDriver, master: ScriptedMaster
) -> None:
    with running(make(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        driver.change_master(master.address)
        until(lambda: len(master.of_type("SUBSCRIBE")) == 2, 2)
        until(lambda: driver.connected)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_m8_events_may_be_split_anywhere(master: ScriptedMaster, size: int) -> None:
    """Each piece is a chunk of its own, whatever the borders of the records are."""
    callbacks = Callbacks()
    heartbeat: Json = {"type": "HEARTBEAT"}
    data = b"".join(record(event) for event in (heartbeat, UPDATE, UPDATE, heartbeat))
    with running(ours(callbacks, master)) as driver:
        until(lambda: driver.connected)
        for start in range(0, len(data), size):
            master.raw(data[start : start + size])
        until(lambda: callbacks.updates == 2)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "UNKNOWN"},
        {"type": "EVENT_OF_THE_FUTURE", "event_of_the_future": {}},
        {"type": "CLOSE", "close": {}},  # a method of pymesos has that name
        {"type": "UPDATE"},
        {"type": "UPDATE", "update": {"status": {"state": "TASK_OF_THE_FUTURE"}}},
        {"type": "OFFERS", "offers": {"offers": None}},
        {},
    ],
)
def test_m8_an_event_that_is_not_understood_costs_nothing_else(
    master: ScriptedMaster, event: dict[str, Any]
) -> None:
    callbacks = Callbacks()
    with running(ours(callbacks, master)) as driver:
        until(lambda: driver.connected)
        master.say(event, UPDATE)
        until(lambda: callbacks.updates >= 1)
        assert driver.connected
    assert len(master.of_type("SUBSCRIBE")) == 1


@pytest.mark.parametrize(
    "garbage",
    [b"3\n[1]", b"-1\n", b"99999999999\n", b"5\n{" + b"\xff" * 4, b"60000\n" + b"[" * 60000],
)
def test_m8_what_is_no_event_leads_to_a_new_stream(master: ScriptedMaster, garbage: bytes) -> None:
    with running(ours(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        master.raw(garbage)
        master.wait_for("SUBSCRIBE", 2)
        until(lambda: driver.connected)


def test_m8_a_message_that_is_not_utf8_is_still_an_update(master: ScriptedMaster) -> None:
    """A task may put any bytes there, and would be told about again and again."""
    callbacks = Callbacks()
    update = record(UPDATE).partition(b"\n")[2].replace(b'"dQ=="', b'"dQ==", "message": "\xff\x01"')
    with running(ours(callbacks, master)) as driver:
        until(lambda: driver.connected)
        master.raw(b"%d\n%s" % (len(update), update))
        until(lambda: callbacks.updates == 1)


def test_p29_a_large_event_is_read(master: ScriptedMaster) -> None:
    callbacks = Callbacks()
    offers = {"type": "OFFERS", "offers": {"offers": [], "padding": "x" * 16 * 2**20}}
    with running(ours(callbacks, master)) as driver:
        until(lambda: driver.connected)
        master.say(offers, UPDATE)
        until(lambda: callbacks.updates == 1)


def test_a_stream_has_to_begin_with_a_framework_id(master: ScriptedMaster) -> None:
    master.events = [{"type": "SUBSCRIBED", "subscribed": {}}]
    callbacks = Callbacks()
    with running(ours(callbacks, master)) as driver:
        master.wait_for("SUBSCRIBE", 2)
        assert not driver.connected
        assert callbacks.subscriptions == 0


def test_a_subscription_that_nobody_noticed_is_none(master: ScriptedMaster) -> None:
    callbacks = Callbacks()

    def defect(*_: Any) -> None:
        callbacks.subscriptions += 1
        if callbacks.subscriptions == 1:
            raise ValueError("a defect of ours")

    callbacks.registered = callbacks.reregistered = defect  # type: ignore[method-assign]
    with running(ours(callbacks, master)) as driver:
        until(lambda: callbacks.subscriptions == 2)
        until(lambda: driver.connected)
    assert callbacks.disconnections == 2
