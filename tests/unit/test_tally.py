"""What is counted of a build: once, when it ends, as what it ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builder_framework.domain import events as ev
from builder_framework.domain import machine, tally
from builder_framework.domain.deployment import Deployment, DeploymentState
from builder_framework.domain.model import Build
from builder_framework.domain.tally import Metric, Tally
from builder_framework.protocol import Outcome, Phase, PushedImage, Report
from tests.contract.builds import PLACEMENT, POLICY, build

pytestmark = pytest.mark.domain


def at(now: float, before: Build, event: ev.Event) -> Build:
    return machine.step(before, event, now, POLICY).build


def test_a_build_counts_once_with_the_seconds_of_each_phase() -> None:
    waits = build("a")  # asked for at 1 s
    placed = at(6.0, waits, ev.Placed(PLACEMENT))
    runs = at(9.0, placed, ev.TaskProgressed(1, Report(phase=Phase.CLONING)))
    timings = {"cloning": 2.0, "building": 70.0, "engine": 0.1, "total": 72.5}
    report = Report(
        outcome=Outcome.SUCCEEDED,
        digest="sha256:1",
        images=(PushedImage("x", "sha256:1"),),
        timings=timings,
    )
    over = at(100.0, runs, ev.TaskSucceeded(1, report))
    assert tally.ended(None, waits) == tally.ended(waits, placed) == tally.ended(placed, runs) == ()
    found = tally.ended(runs, over)
    assert found[:2] == (
        Tally(Metric.ENDED, ("succeeded", ""), "", 1, 0.0),
        Tally(Metric.DURATION, ("succeeded",), "120.0", 1, 99.0),
    )
    # `engine` and `total` are parts and sums of the others: added up, they would count twice.
    assert {(x.labels[0], x.bucket, x.seconds) for x in found[2:]} == {
        ("queued", "5.0", 5.0),
        ("staging", "5.0", 3.0),
        ("cloning", "2.0", 2.0),
        ("building", "120.0", 70.0),
    }
    assert tally.ended(over, at(101.0, over, ev.LogCompleted())) == ()


def test_a_build_that_never_ran_has_an_end_and_no_phase() -> None:
    waits = build("a")
    over = at(31.0, waits, ev.CancelRequested("ann"))
    assert tally.ended(waits, over) == (
        Tally(Metric.ENDED, ("cancelled", "cancelled"), "", 1, 0.0),
        Tally(Metric.DURATION, ("cancelled",), "30.0", 1, 30.0),
    )


def test_one_whose_task_never_started_waited_only() -> None:
    placed = at(6.0, build("a"), ev.Placed(PLACEMENT))
    assert tally.phases(placed) == {"queued": 5.0}


@pytest.mark.parametrize("told", [float("nan"), float("inf")])
def test_what_is_no_number_of_seconds_is_left_out(told: float) -> None:
    placed = at(0.5, build("a"), ev.Placed(PLACEMENT))
    result = replace(placed.result, timings={"cloning": told, "building": 1.0})
    # A clock that went back: nothing takes less than no time.
    assert tally.phases(replace(placed, result=result)) == {"queued": 0.0, "building": 1.0}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, "1.0"), (1.0, "1.0"), (1.01, "2.0"), (86400.0, "86400.0"), (86401.0, "+Inf")],
)
def test_a_bucket_holds_what_is_up_to_its_bound(seconds: float, expected: str) -> None:
    assert tally.bucket(seconds) == expected


def test_an_end_without_a_moment_still_counts() -> None:
    waits = build("a")
    over = replace(at(2.0, waits, ev.CancelRequested("ann")), ended_at=None, reason=None)
    assert tally.ended(waits, over) == (Tally(Metric.ENDED, ("cancelled", ""), "", 1, 0.0),)


def test_a_deployment_counts_as_what_it_ended() -> None:
    one = Deployment("b", "/shop", "app@sha256:1", 60.0, 10.0, DeploymentState.ROLLED_BACK)
    labels = ("rolled_back",)
    assert tally.deployed(replace(one, ended_at=55.0)) == Tally(
        Metric.DEPLOYED, labels, "60.0", 1, 45.0
    )
    assert tally.deployed(one) == Tally(Metric.DEPLOYED, labels, "1.0", 1, 0.0)
