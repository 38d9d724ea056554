"""Builds of one executor, and the names that they share in its engine."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from executor.cancel import CancelToken, Stop, Stopped
from executor.turns import Turns


def test_a_name_is_one_threads_at_a_time() -> None:
    turns, inside, most = Turns(), 0, 0

    def work(_: int) -> None:
        nonlocal inside, most
        with turns.take("name", CancelToken()):
            inside += 1
            most = max(most, inside)
            time.sleep(0.01)
            inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))
    assert (inside, most) == (0, 1)


def test_other_names_do_not_wait() -> None:
    turns, token = Turns(), CancelToken()
    with turns.take("one", token), turns.take("two", token):
        pass


def test_a_failure_ends_a_turn() -> None:
    turns, token = Turns(), CancelToken()
    with pytest.raises(ValueError, match="x"), turns.take("one", token):
        raise ValueError("x")
    with turns.take("one", token):
        pass


def test_who_waits_may_be_stopped() -> None:
    turns, waiting = Turns(), CancelToken()
    with turns.take("name", CancelToken()):
        threading.Timer(0.1, waiting.cancel, [Stop.KILL]).start()
        with pytest.raises(Stopped), turns.take("name", waiting):
            pass
    # It has left nothing behind.
    with turns.take("name", CancelToken()):
        pass
