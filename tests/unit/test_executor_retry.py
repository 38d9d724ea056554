"""What the surroundings fail is tried again, for as long as that makes sense, and said."""

from __future__ import annotations

from typing import Any

import pytest

from builder_framework.protocol import Reason
from executor.cancel import CancelToken, Stop, Stopped
from executor.failure import BuildFailure
from executor.retry import LONGEST_RETRY_AFTER, Backoff, Retries


class Clock:
    """A token whose waits take no time but count."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def check(self) -> None:
        pass

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


FULL = Backoff(draw=lambda _low, high: high)


class Work:
    def __init__(self, *failures: BuildFailure) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


def failure(**options: Any) -> BuildFailure:
    return BuildFailure(Reason.PUSH_FAILED, "HTTP 503", transient=True, **options)


def retries(clock: Clock, said: list[str] | None = None, **options: float) -> Retries:
    sink = said if said is not None else []
    return Retries(
        clock,  # type: ignore[arg-type]
        sink.append,
        FULL,
        tries=int(options["tries"]) if "tries" in options else None,
        patience=options.get("patience", float("inf")),
        clock=lambda: clock.now,
    )


def test_waits_grow_to_a_limit_and_every_one_is_said() -> None:
    clock, said = Clock(), list[str]()
    assert retries(clock, said).run(Work(*[failure() for _ in range(8)])) == "done"
    assert clock.waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert len(said) == 8
    assert said[0] == "HTTP 503\nTrying again in 1.0 s (failures: 1)"


def test_waits_are_not_the_same_for_everybody() -> None:
    waits = {Backoff().seconds(3) for _ in range(20)}
    assert len(waits) > 1
    assert all(2 <= wait <= 4 for wait in waits)


@pytest.mark.parametrize(
    "final",
    [
        BuildFailure(Reason.PUSH_DENIED, "no"),
        BuildFailure(Reason.STEP_FAILED, "exit code 1"),
        BuildFailure(Reason.ENGINE_FAILED, "gone"),
        BuildFailure(Reason.DISK_FULL, "full"),
    ],
)
def test_what_stays_wrong_here_is_not_repeated(final: BuildFailure) -> None:
    work = Work(final)
    with pytest.raises(BuildFailure) as caught:
        retries(Clock()).run(work)
    assert caught.value is final
    assert work.calls == 1


def test_tries_have_an_end() -> None:
    work = Work(*[failure() for _ in range(9)])
    with pytest.raises(BuildFailure):
        retries(Clock(), tries=3).run(work)
    assert work.calls == 3


@pytest.mark.parametrize("own", [float("inf"), 30.0])
def test_patience_counts_from_the_first_failure(own: float) -> None:
    clock = Clock()
    clock.now = 5000.0
    with pytest.raises(BuildFailure, match="503"):
        retries(clock, patience=600.0).run(Work(*[failure(patience=own) for _ in range(99)]))
    assert clock.now - 5000 <= min(600.0, own)
    assert clock.now - 5000 >= min(600.0, own) / 2


def test_a_server_is_left_alone_for_as_long_as_it_asks() -> None:
    clock = Clock()
    retries(clock).run(Work(failure(retry_after=20.0), failure(retry_after=1e9)))
    assert clock.waits == [pytest.approx(22), pytest.approx(LONGEST_RETRY_AFTER * 1.1)]


def test_a_stop_ends_the_wait() -> None:
    token = CancelToken()
    token.cancel(Stop.KILL)
    work = Work(failure())
    with pytest.raises(Stopped):
        Retries(token, lambda _: None).run(work)
    assert work.calls == 1
