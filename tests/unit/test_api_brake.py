"""Guessing gets slow; mistyping does not."""

from __future__ import annotations

import pytest

from api import brake
from api.brake import Brake


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_each_failure_beyond_the_first_ones_doubles_the_wait(clock: Clock) -> None:
    tested, waits = Brake(clock), []
    for _ in range(brake.FREE + 8):
        tested.failed("10.0.0.1", "ann")
        waits.append(tested.wait("10.0.0.1", "ann"))
        clock.now += waits[-1]
        assert tested.wait("10.0.0.1", "ann") == 0.0
    assert waits == [0.0] * brake.FREE + [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_nobody_else_waits(clock: Clock) -> None:
    """Neither the same user elsewhere, nor others behind the same proxy."""
    tested = Brake(clock)
    for _ in range(brake.FREE + 5):
        tested.failed("10.0.0.1", "ann")
    assert tested.wait("10.0.0.2", "ann") == 0.0
    assert tested.wait("10.0.0.1", "bob") == 0.0


def test_one_name_after_the_other_does_not_help(clock: Clock) -> None:
    tested = Brake(clock)
    for number in range(brake.FREE_OF_ADDRESS + 1):
        tested.failed("10.0.0.1", f"name-{number}")
    assert tested.wait("10.0.0.1", "another") == 1.0
    assert tested.wait("10.0.0.2", "another") == 0.0


def test_who_gets_in_has_mistyped(clock: Clock) -> None:
    tested = Brake(clock)
    for _ in range(brake.FREE):
        tested.failed("10.0.0.1", "ann")
    tested.succeeded("10.0.0.1", "ann")
    tested.failed("10.0.0.1", "ann")
    assert tested.wait("10.0.0.1", "ann") == 0.0


def test_what_was_long_ago_counts_no_more(clock: Clock) -> None:
    tested = Brake(clock)
    for _ in range(brake.FREE + 3):
        tested.failed("10.0.0.1", "ann")
    clock.now += brake.FORGOTTEN + 1
    tested.failed("10.0.0.1", "ann")
    assert tested.wait("10.0.0.1", "ann") == 0.0


def test_its_memory_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brake, "MAX_KEPT", 10)
    tested = Brake(clock)
    for number in range(100):
        tested.failed(f"10.0.0.{number}", "ann")
    assert len(tested._kept) == 10
