"""A stop is heard at once, except by what should not be left half done."""

from __future__ import annotations

import threading

import pytest

from executor.cancel import FINISH_RESERVE, CancelToken, Stop, Stopped


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_stop_is_heard_at_once() -> None:
    token = CancelToken()
    assert token.left == float("inf")
    token.cancel(Stop.KILL, 30.0)
    assert token.left == 0
    with pytest.raises(Stopped):
        token.check()
    with pytest.raises(Stopped):
        token.wait(10)


def test_what_is_being_finished_has_the_grace_period() -> None:
    time = Time()
    token = CancelToken(time)
    with token.finishing():
        token.cancel(Stop.KILL, 10.0)
        token.check()
        assert token.why is Stop.KILL
        assert token.left == 10.0 - FINISH_RESERVE
        token.wait(0.01)
        time.now += 10.0 - FINISH_RESERVE
        with pytest.raises(Stopped):
            token.check()
    time.now = 100.0
    with pytest.raises(Stopped):
        token.check()


def test_a_later_stop_shortens_what_is_left() -> None:
    token = CancelToken(Time())
    with token.finishing():
        token.cancel(Stop.KILL, 30.0)
        token.cancel(Stop.SHUTDOWN, 5.0)
        assert token.left == 5.0 - FINISH_RESERVE


def test_the_deadline_counts_as_a_stop() -> None:
    time = Time()
    token = CancelToken(time)
    token.set_timeout(50.0)
    assert token.left == 50
    time.now += 60
    with token.finishing():
        token.check()
    assert token.why is Stop.TIMEOUT
    with pytest.raises(Stopped):
        token.check()


def test_a_stop_wakes_up_what_sleeps() -> None:
    token = CancelToken()
    timer = threading.Timer(0.05, token.cancel, (Stop.KILL, 30.0))
    timer.start()
    with token.finishing():
        token.wait(60)
    assert token.why is Stop.KILL
    timer.join()
