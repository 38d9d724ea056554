"""Fail points end the process where they are told to, and never by accident."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from builder_framework import failpoints
from builder_framework.errors import ConfigError
from tests.unit.waiting import until

ALLOWED = {failpoints.PERMISSION: "1"}


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm({})


def armed(text: str) -> None:
    failpoints.arm({**ALLOWED, failpoints.VARIABLE: text})


def process(text: str) -> subprocess.Popen[bytes]:
    """A process that reaches T5.before three times, saying so each time."""
    program = (
        "import os; from builder_framework import failpoints as f; f.arm(os.environ)\n"
        "for n in range(3): print(n, flush=True); f.reach('T5.before')\n"
    )
    environment = {**os.environ, **ALLOWED, failpoints.VARIABLE: text}
    return subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE
    )


@pytest.mark.parametrize(("text", "seen"), [("T5.before:exit9", 1), ("T5.before:exit9*3", 3)])
def test_the_process_dies_at_the_named_time(text: str, seen: int) -> None:
    dying = process(text)
    output, _ = dying.communicate(timeout=30)
    assert dying.returncode == -signal.SIGKILL
    assert output.split() == [b"0", b"1", b"2"][:seen]


def test_the_process_stops_and_goes_on_when_told() -> None:
    stopping = process("T5.before:stop")

    def stopped() -> bool:
        with open(f"/proc/{stopping.pid}/stat") as stat:  # noqa: PTH123 (procfs)
            return stat.read().rpartition(") ")[2].startswith("T")

    until(stopped)
    stopping.send_signal(signal.SIGCONT)
    output, _ = stopping.communicate(timeout=30)
    assert (stopping.returncode, output.split()) == (0, [b"0", b"1", b"2"])


def test_raise_raises_once_and_at_its_point_only() -> None:
    armed("T5.before:raise")
    failpoints.reach("T5.after")
    failpoints.reach("T5.before", when=False)
    with pytest.raises(failpoints.FailPointError):
        failpoints.reach("T5.before")
    failpoints.reach("T5.before")


@pytest.mark.parametrize(
    ("state", "reached"),
    [("TASK_RUNNING", "T8.before"), ("TASK_GONE", "T11.before"), ("RUNNING", "T8.before")],
)
def test_states_choose_their_point(state: str, reached: str) -> None:
    armed(f"{reached}:raise")
    failpoints.reach_in("QUEUED", "T8.before", "T11.before")
    with pytest.raises(failpoints.FailPointError, match=reached):
        failpoints.reach_in(state, "T8.before", "T11.before")


@pytest.mark.parametrize("text", ["T5", "T5.before", "T22.before:exit9", "T5.before:explode"])
def test_what_is_no_fail_point_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        armed(text)
    (problem,) = refused.value.problems
    assert problem.field == failpoints.VARIABLE
    assert "exit9, stop, raise" in problem.problem


def test_a_framework_does_not_start_with_one_unless_it_is_allowed() -> None:
    environment = {**os.environ, failpoints.VARIABLE: "T5.before:exit9"}
    done = subprocess.run(
        [sys.executable, "-m", "builder_framework"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 78
    assert failpoints.PERMISSION in done.stderr
