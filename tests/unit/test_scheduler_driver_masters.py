"""Several masters, redirections, waits that can be interrupted, and who may subscribe."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from builder_framework.errors import BuilderError, NotSubscribedError, StoreUnavailableError
from builder_framework.mesos import connection, masters
from tests.unit.drivers import Callbacks, ours, running
from tests.unit.scripted_master import ScriptedMaster
from tests.unit.waiting import until


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ScriptedMaster, ScriptedMaster]]:
    monkeypatch.setattr(masters, "FIRST_BACKOFF", 0.1)
    made = ScriptedMaster(), ScriptedMaster()
    yield made
    for master in made:
        master.close()


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An address that answers no SYN: its queue of connections is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        time.sleep(0.1)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


Pair = tuple[ScriptedMaster, ScriptedMaster]


def test_m6_a_redirection_is_followed_at_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masters, "FIRST_BACKOFF", 60.0)
    follower, leader = pair
    follower.refuse, follower.location = 307, f"//{leader.address}/api/v1/scheduler"
    with running(ours(Callbacks(), follower)) as driver:
        until(lambda: driver.connected)
        driver.revive()
    assert len(follower.calls) == 1
    assert [call["type"] for call in leader.calls] == ["SUBSCRIBE", "REVIVE"]


def test_m6_masters_that_name_each_other_are_not_stormed(pair: Pair) -> None:
    one, other = pair
    for master, named in [(one, other), (other, one)]:
        master.refuse, master.location = 307, f"//{named.address}/api/v1/scheduler"
    with running(ours(Callbacks(), one)):
        time.sleep(1.0)
    assert len(one.calls) + len(other.calls) <= 20


def test_m6_a_master_that_names_itself_is_tried_again_later(pair: Pair) -> None:
    master, _ = pair
    master.refuse, master.location = 307, f"//{master.address}/api/v1/scheduler"
    with running(ours(Callbacks(), master)) as driver:
        time.sleep(0.5)
        assert len(master.calls) <= 4
        master.refuse = None
        until(lambda: driver.connected)


def test_several_masters_are_tried_in_turn(pair: Pair) -> None:
    first, second = pair
    first.refuse = 503
    with running(ours(Callbacks(), f"{first.address},{second.address}")) as driver:
        until(lambda: driver.connected)
        assert driver.master == second.address
        first.refuse = None
        second.close()
        until(lambda: driver.connected and driver.master == first.address)


def test_m5_a_master_that_answers_no_syn_is_passed_over(
    pair: Pair, black_hole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 0.3)
    with running(ours(Callbacks(), f"{black_hole},{pair[0].address}")) as driver:
        until(lambda: driver.connected)


def test_every_address_of_a_name_is_tried(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """And calls go to the one that the stream comes from."""
    resolve = socket.getaddrinfo

    def two_addresses(host: Any, *more: Any, **others: Any) -> Any:
        if host != "masters.example":
            return resolve(host, *more, **others)
        return resolve("127.0.0.2", *more, **others) + resolve("127.0.0.1", *more, **others)

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    master = pair[0]
    with running(ours(Callbacks(), f"masters.example:{master.port}")) as driver:
        until(lambda: driver.connected)
        driver.revive()
    assert len(master.of_type("REVIVE")) == 1


@pytest.mark.parametrize("where", ["backoff", "connect", "answer", "stream", "nowhere"])
def test_stop_ends_every_wait(
    where: str, pair: Pair, black_hole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in [(masters, "FIRST_BACKOFF"), (connection, "CONNECT_TIMEOUT")]:
        monkeypatch.setattr(module, name, 60.0)
    master = pair[0]
    master.refuse = 503 if where == "backoff" else None
    master.mute = where == "answer"
    driver = ours(Callbacks(), black_hole if where == "connect" else master)
    if where == "nowhere":
        driver.change_master(None)
    driver.start()
    time.sleep(0.3)
    driver.stop()
    thread = driver._io_thread
    thread.join(5)
    assert not thread.is_alive()
    assert driver.aborted
    assert not driver.connected


@pytest.mark.parametrize("where", ["connect", "answer", "stream"])
def test_a_new_leader_ends_every_wait(
    where: str, pair: Pair, black_hole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in [(masters, "FIRST_BACKOFF"), (connection, "CONNECT_TIMEOUT")]:
        monkeypatch.setattr(module, name, 60.0)
    old, new = pair
    old.mute = where == "answer"
    with running(ours(Callbacks(), black_hole if where == "connect" else old)) as driver:
        time.sleep(0.3)
        driver.change_master(new.address)
        until(lambda: driver.connected and driver.master == new.address)


def test_a_driver_that_may_not_subscribe_ends(pair: Pair) -> None:
    """Another process leads: there is not a single SUBSCRIBE that would end its subscription."""

    def refuse() -> None:
        raise BuilderError("another process leads")

    callbacks = Callbacks()
    with running(ours(callbacks, pair[0], may_subscribe=refuse)) as driver:
        until(lambda: callbacks.reasons)
        until(lambda: driver.aborted)
    assert callbacks.reasons == ["another process leads"]
    assert driver.failure == "another process leads"
    assert pair[0].calls == []


def test_every_new_subscription_is_asked_for(pair: Pair) -> None:
    asked: list[int] = []
    master = pair[0]

    def ask() -> None:
        asked.append(len(master.of_type("SUBSCRIBE")))

    with running(ours(Callbacks(), master, may_subscribe=ask)) as driver:
        for _ in range(3):
            until(lambda: driver.connected)
            master.hang_up()
            until(lambda: not driver.connected)
        master.wait_for("SUBSCRIBE", 4)
    assert asked[:4] == [0, 1, 2, 3]


def test_whoever_cannot_know_whether_it_leads_waits(pair: Pair) -> None:
    """A database that is away is no reason to end, and none to subscribe."""
    answers = [StoreUnavailableError("away"), StoreUnavailableError("away")]

    def ask() -> None:
        if answers:
            raise answers.pop()

    callbacks = Callbacks()
    with running(ours(callbacks, pair[0], may_subscribe=ask)) as driver:
        until(lambda: driver.connected)
    assert callbacks.reasons == []


def test_s5_a_loop_that_fails_is_seen(pair: Pair) -> None:
    def defect() -> None:
        raise ZeroDivisionError("a defect of ours")

    with running(ours(Callbacks(), pair[0], may_subscribe=defect)) as driver:
        until(lambda: driver.aborted)
        assert not driver.connected


def test_calls_after_the_end_of_a_stream_are_not_sent(pair: Pair) -> None:
    master = pair[0]
    with running(ours(Callbacks(), master)) as driver:
        until(lambda: driver.connected)
        master.refuse = 503
        master.hang_up()
        until(lambda: not driver.connected)
        with pytest.raises(NotSubscribedError):
            driver.revive()


UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import sys, gevent
from tests.unit.drivers import Callbacks, ours
from tests.unit.waiting import until
first, second = sys.argv[1:]
callbacks = Callbacks()
driver = ours(callbacks, first)
driver.start()
until(lambda: driver.connected, 10)
driver.revive()
driver.change_master(second)
until(lambda: driver.connected and driver.master == second, 10)
driver.revive()
ticks = []
gevent.spawn(lambda: [(ticks.append(1), gevent.sleep(0.02)) for _ in range(20)])
gevent.sleep(0.5)
assert len(ticks) == 20, "the loop holds up the others"
driver.stop()
driver._io_thread.join(5)
assert not driver._io_thread.is_alive() and callbacks.disconnections == 2
"""


def test_p40_it_runs_on_greenlets_and_holds_up_nobody(pair: Pair) -> None:
    command = [sys.executable, "-c", UNDER_GEVENT, pair[0].address, pair[1].address]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert [len(master.of_type("REVIVE")) for master in pair] == [1, 1]
