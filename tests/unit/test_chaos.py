"""The chaos suite's own judgement: a checker that overlooks a loss proves nothing."""

from __future__ import annotations

import dataclasses
import random
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from tests.chaos import parts
from tests.chaos.faults import Crash, TakenOver
from tests.chaos.nemesis import Happened, Planned, blamed, inflict, schedule
from tests.chaos.orders import Kind, Order
from tests.chaos.parts import InRole
from tests.chaos.proxy import Proxy
from tests.chaos.verdict import Evidence, Fault, Put, judge, puts, timestamp, unexpected
from tests.integration.harness import Json

RNG = random.Random(1)  # noqa: S311 (not secret)
ENDED_AT = "2026-01-02T03:04:05.600Z"


def order(kind: Kind = Kind.GOOD, **fields: Any) -> Order:
    return Order(kind, "http://git/x.git", name="c-1", build_id="b1", **fields)


def build(state: str = "SUCCEEDED", reason: str | None = None, **fields: Any) -> Json:
    result = {"digest": "sha256:a" if state == "SUCCEEDED" else None}
    told = {"state": state, "reason": reason, "message": "m", "ended_at": ENDED_AT}
    return {**told, "result": result, **fields}


def evidence(record: Json, **fields: Any) -> Evidence:
    """What a good build leaves behind, but for `fields`."""
    good = Evidence(
        build=record,
        tags={"1": "sha256:a"},
        puts=(Put("c-1", "1", 0.0),),
        log="== CLONING: x\n#6 0.1 line 1\n#6 0.1 line 2\n#6 0.1 line 3\n",
        ids=("b1",),
    )
    return dataclasses.replace(good, **fields)


def faults(ordered: Order, seen: Evidence) -> list[Fault]:
    return [complaint.fault for complaint in judge(ordered, seen)]


def untagged(record: Json, **fields: Any) -> Evidence:
    return evidence(record, **{"tags": {"1": None}, "puts": (), **fields})


def test_a_good_build_that_is_there_once_is_fine() -> None:
    assert judge(order(), evidence(build())) == []


@pytest.mark.parametrize("state", ["QUEUED", "RUNNING", "UNREACHABLE", "UNKNOWN"])
def test_a_build_that_is_not_over_is_lost(state: str) -> None:
    assert faults(order(), untagged(build(state))) == [Fault.LOST]


@pytest.mark.parametrize(
    "fields",
    [
        {"puts": (Put("c-1", "1", 0.0), Put("c-1", "1", 9.0))},
        {"ids": ("b1", "b2")},
    ],
)
def test_what_is_there_twice_is_doubled(fields: dict[str, Any]) -> None:
    assert faults(order(), evidence(build(), **fields)) == [Fault.DOUBLED]


def test_a_build_that_ends_a_second_time_is_doubled() -> None:
    ordered = order(Kind.CANCELLED, cancel_asked=True, first_end="CANCELLED")
    assert faults(ordered, evidence(build())) == [Fault.DOUBLED]


@pytest.mark.parametrize(
    "fields",
    [
        {"tags": {"1": None}},
        {"tags": {"1": "sha256:b"}},
        {"build": build(result={"digest": None})},
        {"log": "== CLONING: x\n#6 0.1 line 1\n#6 0.1 line 3\n"},
        {"log": "== CLONING: x\n#6 0.1 line 1\n#6 0.1 line 2\n#6 0.1 line 2\n#6 0.1 line 3\n"},
    ],
)
def test_a_success_without_its_image_or_its_log_is_wrong(fields: dict[str, Any]) -> None:
    assert faults(order(), evidence(fields.pop("build", build()), **fields)) == [Fault.WRONG]


@pytest.mark.parametrize(
    "log",
    [
        "#6 0.1 line 1\n\n== Attempt 2 on x\n#6 0.1 line 1\n#6 0.1 line 2\n#6 0.1 line 3\n",
        "#6 0.1 line 1\n#6 0.1 line 2\n#6 0.1 line 3\n\n== Attempt 2 on x\n#6 CACHED\n",
    ],
)
def test_one_attempts_log_must_be_whole(log: str) -> None:
    assert judge(order(), evidence(build(), log=log)) == []


@pytest.mark.parametrize(
    ("ordered", "record"),
    [
        (order(), build("FAILED", "agent_lost")),
        (order(), build("CANCELLED", "cancelled")),
        (order(Kind.CANCELLED), build("CANCELLED", "cancelled")),
        (order(Kind.BAD), build("FAILED", "executor_lost")),
    ],
)
def test_an_end_that_nobody_asked_for_is_wrong(ordered: Order, record: Json) -> None:
    assert faults(ordered, untagged(record)) == [Fault.WRONG]


@pytest.mark.parametrize(
    ("ordered", "record"),
    [
        (order(Kind.BAD), build("FAILED", "step_failed")),
        (order(Kind.CANCELLED, cancel_asked=True), build("CANCELLED", "cancelled")),
    ],
)
def test_an_end_that_was_asked_for_is_fine(ordered: Order, record: Json) -> None:
    assert judge(ordered, untagged(record)) == []


def test_a_cancelled_build_may_have_been_faster_but_not_push_afterwards() -> None:
    ordered = order(Kind.CANCELLED, cancel_asked=True)
    assert judge(ordered, evidence(build())) == []
    late = Put("c-1", "1", timestamp(ENDED_AT) + 1)
    assert faults(ordered, evidence(build("CANCELLED", "cancelled"), puts=(late,))) == [Fault.WRONG]


def test_a_build_that_nobody_accepts_is_wrong() -> None:
    refused = Order(Kind.GOOD, "http://git/x.git")
    assert faults(refused, untagged(build("UNKNOWN"))) == [Fault.WRONG]


def test_a_failed_build_has_no_image() -> None:
    assert faults(order(Kind.BAD), evidence(build("FAILED", "step_failed"))) == [Fault.WRONG]


def test_the_registrys_access_log_tells_each_tag_that_was_put() -> None:
    line = '10.0.0.1 - - [22/Nov/2026:21:14:38 +0000] "{} HTTP/1.1" {} 0 "" "docker/20.10"'
    log = [
        line.format("PUT /v2/c-1/manifests/1", 201),
        line.format("PUT /v2/c-1/manifests/2", 500),
        line.format("HEAD /v2/c-1/manifests/1", 200),
        line.format("PUT /v2/c-1/manifests/sha256:abc", 201),
        line.format("PUT /v2/c-1/blobs/uploads/x?digest=sha256%3Aabc", 201),
    ]
    assert puts(log) == [Put("c-1", "1", timestamp("2026-11-22T21:14:38Z"))]


def test_processes_and_database_must_tell_the_same() -> None:
    same = {"http://b": "SUCCEEDED", "the database": "SUCCEEDED"}
    assert judge(order(), evidence(build(), told=same)) == []
    assert faults(order(), evidence(build(), told={**same, "http://b": "RUNNING"})) == [Fault.WRONG]


def test_a_build_that_one_process_did_not_know_was_lost_for_its_customer() -> None:
    assert faults(order(forgotten_by="http://b"), evidence(build())) == [Fault.LOST]


def test_a_framework_may_end_only_to_be_started_afresh() -> None:
    (complaint,) = unexpected(["exit code 70", "exit code 1"])
    assert "exit code 1" in complaint.sentence


# -- who leads and who follows -------------------------------------------------------------------


@dataclasses.dataclass
class Process:
    """A framework process that writes down what is done to it."""

    roles: list[str | None]
    deeds: list[str] = dataclasses.field(default_factory=list)

    def role(self) -> str | None:
        """The last one stays."""
        return self.roles.pop(0) if len(self.roles) > 1 else self.roles[0]

    def end(self, by: signal.Signals) -> None:
        self.deeds.append(by.name)

    def start(self) -> None:
        self.deeds.append("start")

    def pause(self) -> None:
        self.deeds.append("pause")

    def resume(self) -> None:
        self.deeds.append("resume")


def in_role(role: str, *processes: Process, **fields: Any) -> InRole:
    return InRole(cast("Any", processes), role, **fields)


def test_whoever_leads_at_the_time_is_hit_and_healed() -> None:
    first, second = Process(["follower"]), Process([None, "leader"])
    crash = Crash("leader", [in_role("leader", first, second, by=signal.SIGTERM)])
    crash.inject(RNG)
    second.roles, first.roles = ["follower"], ["leader"]
    crash.heal()
    assert (first.deeds, second.deeds) == ([], ["SIGTERM", "start"])


def test_a_leader_sleeps_until_another_leads() -> None:
    first, second = Process(["leader"]), Process(["follower", "follower", "leader"])
    trouble: list[str] = []
    fault = TakenOver(in_role("leader", first, second), trouble)
    fault.inject(RNG)
    assert second.role() == "leader"
    assert first.deeds == ["pause"]
    fault.heal()
    fault.heal()
    assert first.deeds == ["pause", "resume"]
    assert trouble == []


def test_a_frozen_leader_that_nobody_replaces_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_PATIENCE", 0.0)
    trouble: list[str] = []
    TakenOver(in_role("leader", Process(["leader"]), Process(["follower"])), trouble).inject(RNG)
    assert len(unexpected(trouble)) == 1


# -- the nemesis -------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_schedule_and_hits_everything() -> None:
    names = ["a", "b", "c"]
    plan = schedule(7, 8, names)
    assert plan == schedule(7, 8, names)
    assert plan != schedule(8, 8, names)
    assert sorted([p.fault for p in plan].count(name) for name in names) == [2, 3, 3]


class Recorded:
    """A fault that writes down what is done with it."""

    name = "a"
    longest = 0.0

    def __init__(self, failing: bool = False) -> None:
        self.deeds: list[str] = []
        self._failing = failing

    def inject(self, _rng: object) -> str:
        self.deeds.append("inject")
        if self._failing:
            raise OSError("it is stuck")
        return "it"

    def heal(self) -> None:
        self.deeds.append("heal")


def test_a_fault_is_healed_even_when_it_could_not_be_injected_well() -> None:
    plan = [Planned("a", calm=0.0, share=1.0, seed=1)]
    happened: list[Happened] = []
    good, bad = Recorded(), Recorded(failing=True)
    inflict(plan, {"a": good}, lambda _: None, happened.append)
    with pytest.raises(OSError, match="stuck"):
        inflict(plan, {"a": bad}, lambda _: None, happened.append)
    assert good.deeds == bad.deeds == ["inject", "heal"]
    assert [each.fault for each in happened] == ["a"]


def test_the_faults_that_were_there_meanwhile_are_blamed() -> None:
    happened = [Happened("a", "x", 10, 20), Happened("b", "x", 30, 40), Happened("c", "x", 50, 60)]
    assert blamed(happened, 22, 45) == ["a", "b"]


# -- the proxy ---------------------------------------------------------------------------------


@pytest.fixture
def line() -> Iterator[tuple[Proxy, Callable[[], socket.socket]]]:
    """A proxy before a server that echoes, and a way to connect to it."""
    server = socket.create_server(("127.0.0.1", 0))

    def echo() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                try:
                    while piece := client.recv(100):
                        client.sendall(piece)
                except OSError:
                    continue

    threading.Thread(target=echo, daemon=True).start()
    port = server.getsockname()[1]
    proxy = Proxy("127.0.0.1", 0, f"127.0.0.1:{port}")
    host, _, own = proxy.address.rpartition(":")
    yield proxy, lambda: socket.create_connection((host, int(own)), timeout=10)
    proxy.close()
    server.shutdown(socket.SHUT_RDWR)
    server.close()


Line = tuple[Proxy, Callable[[], socket.socket]]


def test_the_proxy_holds_back_and_delivers(line: Line) -> None:
    proxy, connect = line
    with connect() as client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"
        proxy.silence()
        client.sendall(b"two")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(100)
        client.settimeout(10)
        proxy.flow()
        assert client.recv(100) == b"two"


def test_the_proxy_breaks_connections_and_takes_new_ones(line: Line) -> None:
    proxy, connect = line
    with connect() as client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    with connect() as client:
        client.sendall(b"two")
        assert client.recv(100) == b"two"
