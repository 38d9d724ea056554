"""No lease, no tag: asked until answered, counted from the question, and over in time."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from builder_framework.protocol import LeaseAnswer, LeaseRequest, decode_lease_request
from executor.cancel import CancelToken, Stop, Stopped
from executor.connection import Refused
from executor.lease import Lease, LeaseDesk, LeaseRefused, boottime
from tests.unit.waiting import until

DIGEST = "sha256:" + "a" * 64


@dataclass
class Framework:
    """Hears the questions; `reply` makes the answer, or None to leave it open."""

    reply: Callable[[LeaseRequest], LeaseAnswer | None] = lambda _: None
    asked: list[LeaseRequest] = field(default_factory=list)
    now: float | None = None

    def __post_init__(self) -> None:
        self.desk = LeaseDesk("b.1", self.send, every=0.02, clock=self.clock)
        self.said: list[str] = []
        self.token = CancelToken()

    def clock(self) -> float:
        return boottime() if self.now is None else self.now

    def send(self, data: bytes) -> None:
        request = decode_lease_request(data)
        self.asked.append(request)
        answer = self.reply(request)
        if answer is not None:
            self.desk.answer(answer)

    def acquire(self, at_least: float = 10.0, replaces: str | None = None) -> Lease:
        return self.desk.acquire(DIGEST, replaces, at_least, self.token, self.said.append)


def granted(request: LeaseRequest, seconds: float = 30.0) -> LeaseAnswer:
    return LeaseAnswer(request.task_id, request.nonce, granted=True, seconds=seconds)


def test_a_lease_is_asked_for_and_kept() -> None:
    framework = Framework(granted)
    lease = framework.acquire(replaces="sha256:old")
    assert 29 < lease.left <= 30
    assert framework.acquire() == lease
    (request,) = framework.asked
    assert (request.task_id, request.digest, request.replaces) == ("b.1", DIGEST, "sha256:old")


def test_lost_questions_are_repeated() -> None:
    framework = Framework()
    framework.reply = lambda request: granted(request) if len(framework.asked) == 4 else None
    framework.acquire()
    assert len(framework.asked) == 4
    assert len({request.nonce for request in framework.asked}) == 4


def test_a_question_that_was_not_taken_is_repeated() -> None:
    errors = [OSError("no agent"), Refused("HTTP 503")]

    def reply(request: LeaseRequest) -> LeaseAnswer:
        if errors:
            raise errors.pop()
        return granted(request)

    assert Framework(reply).acquire().left > 0
    assert not errors


def test_a_lease_counts_from_the_question() -> None:
    """The framework counts from later on, so its lease outlives ours."""
    framework = Framework(now=1000.0)

    def late(request: LeaseRequest) -> LeaseAnswer:
        assert framework.now is not None
        framework.now += 12
        return granted(request)

    framework.reply = late
    lease = framework.acquire()
    assert lease.until == 1030.0
    assert lease.left == 18


def test_a_lease_that_is_too_short_is_renewed() -> None:
    framework = Framework(granted, now=1000.0)
    framework.acquire()
    framework.now = 1025.0
    assert framework.acquire().until == 1055.0
    assert len(framework.asked) == 2


def test_short_leases_are_enough_where_there_are_no_others() -> None:
    framework = Framework(lambda request: granted(request, 4.0), now=0.0)
    assert framework.acquire().left == 4.0


def test_a_lease_that_is_over_is_none() -> None:
    assert not Lease(10.0, 30.0, lambda: 10.0).enough(0)
    assert Lease(10.0, 30.0, lambda: 10.5).left < 0


def test_no_means_no() -> None:
    framework = Framework(lambda r: LeaseAnswer(r.task_id, r.nonce, granted=False, message="late"))
    with pytest.raises(LeaseRefused, match="late"):
        framework.acquire()
    with pytest.raises(LeaseRefused):
        framework.acquire()
    assert len(framework.asked) == 1


def test_answers_to_others_questions_do_not_count() -> None:
    framework = Framework()
    framework.desk.answer(LeaseAnswer("b.1", "guessed", granted=True, seconds=30.0))
    framework.token.set_timeout(0.2)
    with pytest.raises(Stopped):
        framework.acquire()
    assert framework.desk.lease.left < 0


def test_a_stop_ends_the_waiting() -> None:
    framework = Framework()
    stopped: list[bool] = []

    def wait() -> None:
        with pytest.raises(Stopped):
            framework.acquire()
        stopped.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: framework.asked)
    framework.token.cancel(Stop.KILL)
    thread.join(5)
    assert stopped


def test_long_waits_are_said_once() -> None:
    framework = Framework()
    ticks = itertools.count(0.0, 0.5)
    framework.desk = LeaseDesk("b.1", framework.send, every=1.0, clock=lambda: next(ticks))
    framework.reply = lambda request: granted(request, 1e3) if len(framework.asked) == 9 else None
    framework.acquire()
    assert framework.said == ["Waiting for the framework's leave to publish"]
