"""Paused, the loop starts nothing and asks for no offers; resumed, it goes on by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder_framework.cluster import OffersReceived
from builder_framework.domain.scheduling import Mode, Scheduling
from builder_framework.domain.states import State
from builder_framework.errors import StoreUnavailableError
from builder_framework.service.policy import LoopPolicy
from builder_framework.service.scheduling import FRESH, Switch
from tests.unit.recording import Bench, offer
from tests.unit.test_service import state, submit
from tests.unit.waiting import until


class Kept:
    """A database that another process writes to as well."""

    def __init__(self) -> None:
        self.now = Scheduling()
        self.away = False

    def read(self) -> Scheduling:
        if self.away:
            raise StoreUnavailableError("away")
        return self.now

    def turn(self, mode: Mode, by: str, now: float) -> Scheduling:
        self.now = self.now.turned(mode, by, now)
        return self.now

    def on_agents(self) -> int:
        return 0


@pytest.fixture
def switch() -> Switch:
    return Switch(Kept())


@pytest.fixture
def bench(tmp_path: Path, switch: Switch) -> Iterator[Bench]:
    made = Bench(tmp_path, LoopPolicy(scheduling=switch.current))
    yield made
    made.close()


def test_a_paused_framework_starts_nothing_and_says_why(bench: Bench, switch: Switch) -> None:
    switch.turn(Mode.PAUSED, "ann")
    bench.subscribe()
    view = submit(bench)
    bench.service.post(OffersReceived((offer(),)))
    bench.cluster.wait_for("decline")
    bench.cluster.wait_for("suppress")
    waiting = bench.service.get(view.build.id).waiting
    assert waiting is not None
    assert waiting.message == "no builds are started: ann has paused the framework"
    assert "revive" not in bench.cluster.names()
    switch.turn(Mode.RUNNING, "ann")
    bench.cluster.wait_for("revive")
    bench.service.post(OffersReceived((offer(),)))
    bench.cluster.wait_for("launch")
    until(lambda: state(bench, view) is State.STAGING)


def test_what_another_process_says_holds_within_a_second() -> None:
    kept, clock = Kept(), [0.0]
    switch = Switch(kept, clock=lambda: 5.0, monotonic=lambda: clock[0])
    kept.now = Scheduling(Mode.DRAINING, "bob", 4.0)
    assert switch.current().starts
    clock[0] = FRESH
    assert switch.current() == kept.now
    kept.away, clock[0] = True, 3 * FRESH
    assert switch.current().mode is Mode.DRAINING
    assert switch.turn(Mode.RUNNING, "ann") == Scheduling(Mode.RUNNING, "ann", 5.0)
    assert switch.current().starts


@pytest.mark.parametrize(
    ("mode", "on_agents", "expected"),
    [
        (Mode.RUNNING, 0, "running"),
        (Mode.PAUSED, 0, "paused"),
        (Mode.DRAINING, 2, "draining"),
        (Mode.DRAINING, 0, "drained"),
    ],
)
def test_drained_is_a_drain_after_the_last_build(mode: Mode, on_agents: int, expected: str) -> None:
    assert Scheduling(mode).state(on_agents) == expected


def test_saying_it_again_keeps_who_said_it_first() -> None:
    paused = Scheduling().turned(Mode.PAUSED, "ann", 1.0)
    assert paused.turned(Mode.PAUSED, "bob", 2.0) is paused
    drained = paused.turned(Mode.DRAINING, "bob", 2.0)
    assert drained.sentence() == "no builds are started: bob has drained the framework"
    assert Scheduling(Mode.PAUSED).sentence().endswith("somebody has paused the framework")
