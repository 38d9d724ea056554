"""The worker of the outbox, on a real store, against real receivers."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder_framework.domain import events as ev
from builder_framework.domain import machine
from builder_framework.domain.announcer import Announcer
from builder_framework.domain.delivery import Delivery, DeliveryState, Try
from builder_framework.domain.model import Build, BuildRequest, Resources
from builder_framework.errors import BuilderError, StoreUnavailableError
from builder_framework.ports import DeliveryView
from builder_framework.recipe import GitSource, Source
from builder_framework.redact import Secret
from builder_framework.service import webhooks as module
from builder_framework.service.post import Limits, Poster
from builder_framework.service.webhooks import Webhooks
from builder_framework.store.base import Change, Outbox
from builder_framework.store.deliveries import SqlOutbox
from builder_framework.store.sql import SqlStore
from tests.sealing import SEALER
from tests.unit import receivers
from tests.unit.receivers import Receiver, Request, answers, receiving
from tests.unit.recording import Bench
from tests.unit.waiting import until

KEY = b"k" * 32
SECRET = Secret(f"whsec_{base64.b64encode(KEY).decode()}")
REQUEST = BuildRequest(
    Source(GitSource("https://git.example.org/app.git")),
    ("registry.example.org/app:1",),
    timeout=600.0,
    queue_ttl=600.0,
    resources=Resources(1.0, 512.0),
)


class Desk:
    """A store with an outbox, a clock that can be put forward, and workers."""

    def __init__(self, directory: Path) -> None:
        self.store = SqlStore(f"sqlite:///{directory / 'builder.db'}", SEALER)
        self.store.lead("desk", None)
        self.ahead = 0.0
        self._builds = 0
        self._workers: list[Webhooks] = []

    def clock(self) -> float:
        return time.time() + self.ahead

    def work(self, outbox: Outbox | None = None, total: float = 20.0) -> Webhooks:
        """A worker that is at work; `total`: seconds that a try may take."""
        poster = Poster(Limits(connect=5.0, total=total))
        worker = Webhooks(outbox or self.store.outbox, (SECRET,), poster, clock=self.clock)
        worker.start()
        self._workers.append(worker)
        return worker

    def tell(self, *urls: str) -> Build:
        """A build is accepted, and `urls` are to be told."""
        self._builds += 1
        submitted = ev.Submitted(f"{self._builds:016d}", REQUEST, "ann")
        build = machine.step(None, submitted, self.clock(), machine.MachinePolicy()).build
        due = Announcer(tuple(map(Secret, urls))).deliveries_of(None, build, self.clock())
        self.store.apply([Change(build, deliveries=due)])
        return build

    def view(self, build: Build) -> DeliveryView:
        (view,) = self.store.outbox.of_build(build.id)
        return view

    def state(self, build: Build) -> DeliveryState:
        return self.view(build).delivery.state

    def tried(self, build: Build, times: int) -> None:
        """Wait until that many tries are recorded."""
        until(lambda: len(self.view(build).tries) >= times)

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()
        self.store.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL", 0.02)
    monkeypatch.setattr(module, "_AFTER_ERROR", 0.02)


def verified(request: Request) -> bool:
    """As a receiver does it, from the specification alone."""
    message, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    signed = f"{message}.{at}.".encode() + request.body
    mine = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    return request.headers["webhook-signature"] == f"v1,{mine}"


def test_a_message_arrives_signed_and_is_over(desk: Desk) -> None:
    with receiving(answers("204 No Content")) as receiver:
        build = desk.tell(receiver.url)
        desk.work()
        until(lambda: desk.state(build) is DeliveryState.DELIVERED)
    (request,) = receiver.requests
    assert verified(request)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == desk.view(build).delivery.id
    assert (request.json()["type"], request.json()["data"]["id"]) == ("build.queued", build.id)
    (made,) = desk.view(build).tries
    assert (made.status, made.error) == (204, None)


def test_a_message_is_the_same_in_every_try(desk: Desk) -> None:
    with receiving(answers("500 Oops", "302 Found", "200 OK")) as receiver:
        build = desk.tell(receiver.url)
        desk.work()
        for times in (1, 2):
            desk.tried(build, times)
            desk.ahead += 1000.0
        until(lambda: desk.state(build) is DeliveryState.DELIVERED)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert len({request.body for request in receiver.requests}) == 1
    sent = [int(request.headers["webhook-timestamp"]) for request in receiver.requests]
    assert sent[1] - sent[0] >= 1000
    assert all(verified(request) for request in receiver.requests)
    assert [made.status for made in desk.view(build).tries] == [500, 302, 200]


def test_a_receiver_that_asks_for_time_gets_it(desk: Desk) -> None:
    with receiving(answers("429 Slow down", headers="Retry-After: 3600\r\n")) as receiver:
        build = desk.tell(receiver.url)
        desk.work()
        desk.tried(build, 1)
        view = desk.view(build)
        assert view.delivery.next_at is not None
        assert view.delivery.next_at - view.tries[0].at >= 3600.0


def test_a_receiver_that_is_gone_is_left_alone_until_somebody_asks(desk: Desk) -> None:
    with receiving(answers("410 Gone", "200 OK")) as receiver:
        build = desk.tell(receiver.url)
        desk.work()
        until(lambda: desk.state(build) is DeliveryState.FAILED)
        desk.store.outbox.redeliver(build.id, desk.view(build).delivery.id, desk.clock())
        until(lambda: desk.state(build) is DeliveryState.DELIVERED)
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


@pytest.mark.parametrize(
    "behave",
    [
        receivers.holds,
        receivers.never_reads,
        receivers.drips,
        receivers.resets,
        receivers.hangs_up,
        receivers.babbles,
        answers("500 Oops"),
        answers("301 Moved", headers="Location: http://169.254.169.254/\r\n"),
    ],
)
def test_no_receiver_holds_up_another(
    desk: Desk, behave: Callable[[Receiver, socket.socket], None]
) -> None:
    """Ten messages wait for the rude one, with all of a minute for each; the other gets its own."""
    with receiving(behave) as rude, receiving(answers("200 OK")) as other:
        waiting = [desk.tell(rude.url) for _ in range(10)]
        desk.work(total=60.0)
        until(lambda: rude.connections)
        told = [desk.tell(other.url) for _ in range(3)]
        until(lambda: all(desk.state(build) is DeliveryState.DELIVERED for build in told))
        assert rude.most_at_once == 1
        assert not any(desk.state(build) is DeliveryState.DELIVERED for build in waiting)


def test_a_receiver_that_was_slow_gets_all_the_rest_in_order(desk: Desk) -> None:
    with receiving(answers("200 OK")) as receiver:
        builds = [desk.tell(receiver.url) for _ in range(20)]
        desk.work()
        until(lambda: all(desk.state(build) is DeliveryState.DELIVERED for build in builds))
    assert [request.json()["data"]["id"] for request in receiver.requests] == [
        build.id for build in builds
    ]
    assert receiver.most_at_once == 1


class _Dies:
    """An outbox whose process ends before a try can be recorded."""

    def __init__(self, real: Outbox) -> None:
        self._real = real
        self.due = real.due
        self.of_build = real.of_build
        self.redeliver = real.redeliver
        self.overtaken = real.overtaken
        self.killed = threading.Event()

    def record(self, _delivery: Delivery, _made: Try) -> None:
        self.killed.set()
        threading.Event().wait(2)
        raise BuilderError("killed")


def test_killed_between_sending_and_noting_it_the_next_process_sends_the_same_again(
    desk: Desk,
) -> None:
    with receiving(answers("200 OK")) as receiver:
        build = desk.tell(receiver.url)
        dying = _Dies(desk.store.outbox)
        desk.work(dying)
        assert dying.killed.wait(5)
        desk.work()
        until(lambda: desk.state(build) is DeliveryState.DELIVERED)
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


def test_a_store_that_is_away_for_a_while_makes_nobody_hear_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = SqlOutbox.record, [1, 2, 3]

    def record(self: SqlOutbox, delivery: Delivery, made: Try) -> None:
        if left:
            left.pop()
            raise StoreUnavailableError("away")
        real(self, delivery, made)

    monkeypatch.setattr(SqlOutbox, "record", record)
    with receiving(answers("200 OK")) as receiver:
        build = desk.tell(receiver.url)
        desk.work()
        until(lambda: desk.state(build) is DeliveryState.DELIVERED)
    assert left == []
    assert len(receiver.requests) == 1


def test_a_worker_whose_store_is_away_goes_on_when_it_is_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = threading.Event()

    def due(*_: object) -> list[Delivery]:
        away.set()
        raise StoreUnavailableError("away")

    with receiving(answers("200 OK")) as receiver:
        build = desk.tell(receiver.url)
        with monkeypatch.context() as patched:
            patched.setattr(SqlOutbox, "due", due)
            worker = desk.work()
            assert away.wait(5)
            assert worker.alive
        until(lambda: desk.state(build) is DeliveryState.DELIVERED)


def test_a_worker_that_was_stopped_sends_nothing_more(desk: Desk) -> None:
    with receiving(answers("200 OK")) as receiver:
        worker = desk.work()
        first = desk.tell(receiver.url)
        until(lambda: desk.state(first) is DeliveryState.DELIVERED)
        worker.stop()
        assert not worker.alive
        second = desk.tell(receiver.url)
        desk.work()
        until(lambda: desk.state(second) is DeliveryState.DELIVERED)
        assert len(receiver.requests) == 2


def test_the_log_names_the_host_and_not_the_path(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with receiving(answers("500 Oops", "410 Gone")) as receiver:
        build = desk.tell(receiver.url)
        desk.work()
        desk.tried(build, 1)
        desk.ahead += 10.0
        until(lambda: desk.state(build) is DeliveryState.FAILED)
    assert f"127.0.0.1:{receiver.port} failed: answered 500" in caplog.text
    assert f"127.0.0.1:{receiver.port} given up: answered 410" in caplog.text
    assert "t0ken" not in caplog.text


def test_builds_go_on_whatever_receivers_do(tmp_path: Path) -> None:
    """Through the service: accepted, cancelled, told; while another receiver answers nobody."""
    with contextlib.ExitStack() as stack:
        slow = stack.enter_context(receiving(receivers.holds))
        other = stack.enter_context(receiving(answers("200 OK")))
        announcer = Announcer((Secret(slow.url), Secret(other.url)))
        bench = Bench(tmp_path, announce=announcer.deliveries_of)
        stack.callback(bench.close)
        worker = Webhooks(bench.store.outbox, (SECRET,), Poster())
        worker.start()
        stack.callback(worker.stop)
        ids = [bench.service.submit(REQUEST, "ann")[0].build.id for _ in range(20)]
        until(lambda: slow.connections)
        for build_id in ids:
            assert bench.service.cancel(build_id, "ann").build.terminal
        until(lambda: len(other.requests) == 40)
        views = bench.service.deliveries(ids[0])
        assert slow.most_at_once == 1
    told = {(request.json()["data"]["id"], request.json()["type"]) for request in other.requests}
    assert told == {(i, kind) for i in ids for kind in ("build.queued", "build.finished")}
    assert [view.delivery.event for view in views] == ["build.queued"] * 2 + ["build.finished"] * 2
