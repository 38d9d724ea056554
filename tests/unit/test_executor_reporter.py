"""A task says that it ended exactly once, last, and only after its result was written."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.protocol import (
    MAX_REPORT_BYTES,
    Outcome,
    Phase,
    PushedImage,
    Reason,
    Report,
    decode_report,
)
from executor.reporter import Reporter, shorten

TERMINAL = {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED"}
ENDS = [
    Report(outcome=Outcome.SUCCEEDED),
    Report(outcome=Outcome.FAILED, reason=Reason.TIMEOUT),
    Report(outcome=Outcome.KILLED),
]
STEPS: list[Report | None] = [
    *ENDS,
    Report(phase=Phase.CLONING),
    Report(phase=Phase.BUILDING),
    None,  # killing
]


def apply(reporter: Reporter, step: Report | None) -> bool:
    if step is None:
        reporter.killing()
        return False
    if step.outcome is None:
        reporter.progress(step)
        return False
    return reporter.end(step)


def states(sent: list[Mapping[str, Any]]) -> list[str]:
    return [status["state"] for status in sent]


@given(st.lists(st.sampled_from(STEPS), max_size=12))
def test_one_terminal_update_in_any_order(steps: list[Report | None]) -> None:
    """Whatever finish, kill and time-out do: the first end counts, and nothing follows it."""
    sent: list[Mapping[str, Any]] = []
    reporter = Reporter("b.1", sent.append)
    accepted = [apply(reporter, step) for step in steps]
    ends = [state for state in states(sent) if state in TERMINAL]
    assert (
        len(ends)
        == sum(accepted)
        == min(1, sum(s is not None and s.outcome is not None for s in steps))
    )
    assert not ends or states(sent)[-1] == ends[0]
    assert reporter.ended == bool(ends)


@given(st.lists(st.sampled_from(STEPS), min_size=2, max_size=8), st.integers(2, 4))
def test_one_terminal_update_from_many_threads(steps: list[Report | None], threads: int) -> None:
    sent: list[Mapping[str, Any]] = []
    reporter = Reporter("b.1", sent.append)
    barrier = threading.Barrier(threads)

    def work() -> None:
        barrier.wait()
        for step in [*steps, ENDS[0]]:
            apply(reporter, step)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(state in TERMINAL for state in states(sent)) == 1
    assert states(sent)[-1] in TERMINAL


@pytest.mark.parametrize(
    ("report", "state"),
    [(ENDS[0], "TASK_FINISHED"), (ENDS[1], "TASK_FAILED"), (ENDS[2], "TASK_KILLED")],
)
def test_the_result_is_written_before_the_update(report: Report, state: str) -> None:
    order: list[str] = []
    reporter = Reporter(
        "b.1", lambda s: order.append(str(s["state"])), lambda _: order.append("written")
    )
    reporter.progress(Report(phase=Phase.PUSHING))
    assert reporter.end(report)
    assert not reporter.end(report)
    assert order == ["TASK_RUNNING", "written", state]


def test_a_result_that_cannot_be_written_does_not_hide_the_end() -> None:
    sent: list[Mapping[str, Any]] = []

    def fail(_: Report) -> None:
        raise OSError("disk full")

    reporter = Reporter("b.1", sent.append, fail)
    with pytest.raises(OSError, match="disk full"):
        reporter.end(ENDS[0])
    assert states(sent) == ["TASK_FINISHED"]


def test_the_update_carries_the_report() -> None:
    sent: list[Mapping[str, Any]] = []
    images = (PushedImage("registry.example/app:1", "sha256:" + "a" * 64),)
    reporter = Reporter("b.1", sent.append)
    reporter.progress(Report(phase=Phase.BUILDING, commit="c" * 40))
    reporter.killing()
    reporter.end(Report(outcome=Outcome.SUCCEEDED, images=images, message="x"))
    first, killing, last = sent
    assert first["task_id"] == {"value": "b.1"}
    assert killing["state"] == "TASK_KILLING"
    assert decode_report(base64.b64decode(killing["data"])).phase is Phase.BUILDING
    assert last["message"] == "x"
    assert decode_report(base64.b64decode(last["data"])) == Report(
        phase=Phase.BUILDING, outcome=Outcome.SUCCEEDED, images=images, message="x"
    )


def test_an_end_needs_an_outcome() -> None:
    with pytest.raises(ValueError, match="outcome"):
        Reporter("b.1", lambda _: None).end(Report())


def test_long_messages_keep_their_end() -> None:
    sent: list[Mapping[str, Any]] = []
    message = "ü" * 1_000_000 + " the error"
    Reporter("b.1", sent.append).end(Report(outcome=Outcome.FAILED, message=message))
    data = base64.b64decode(sent[0]["data"])
    assert len(data) < MAX_REPORT_BYTES
    assert sent[0]["message"].endswith(" the error")
    assert len(sent[0]["message"]) == 4096
    assert shorten("short") == "short"
