"""What builds and their tasks are called, and what a switch remembers."""

from __future__ import annotations

import pytest

from builder_framework.domain.model import is_build_id, new_build_id, parse_task_id, task_id
from builder_framework.domain.scheduling import Mode, Scheduling
from builder_framework.errors import InvalidValueError

pytestmark = pytest.mark.domain


def test_a_task_is_called_after_its_build_and_attempt() -> None:
    build_id = new_build_id()
    assert is_build_id(build_id)
    assert parse_task_id(task_id(build_id, 12)) == (build_id, 12)


@pytest.mark.parametrize("text", ["", "b", "b.1", f"{'0' * 16}.0", f"{'0' * 16}.1 ", "0" * 16])
def test_other_frameworks_tasks_are_not_taken_for_ours(text: str) -> None:
    with pytest.raises(InvalidValueError, match="not a task id"):
        parse_task_id(text)


def test_draining_is_over_when_nothing_runs() -> None:
    running = Scheduling()
    assert running.starts
    assert running.state(0) == "running"
    assert running.turned(Mode.RUNNING, "ann", 1.0) is running
    draining = running.turned(Mode.DRAINING, "ann", 1.0)
    assert not draining.starts
    assert [draining.state(on_agents) for on_agents in (1, 0)] == ["draining", "drained"]
    assert draining.sentence() == "no builds are started: ann has drained the framework"


def test_paused_says_who_did_it() -> None:
    paused = Scheduling(Mode.PAUSED)
    assert paused.state(0) == "paused"
    assert paused.sentence() == "no builds are started: somebody has paused the framework"
