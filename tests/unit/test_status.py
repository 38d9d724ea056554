"""Every task state and reason of Mesos 1.11 has a meaning, and the right one."""

from __future__ import annotations

import itertools

import pytest

from builder_framework.cluster import StatusUpdate
from builder_framework.domain import events as ev
from builder_framework.mesos import status
from builder_framework.protocol import Outcome, Phase, Reason, Report, encode_report

# The enums TaskState and TaskStatus.Reason of mesos.proto in Mesos 1.11.0.
TASK_STATES = [
    "TASK_STAGING",
    "TASK_STARTING",
    "TASK_RUNNING",
    "TASK_KILLING",
    "TASK_FINISHED",
    "TASK_FAILED",
    "TASK_KILLED",
    "TASK_ERROR",
    "TASK_LOST",
    "TASK_DROPPED",
    "TASK_UNREACHABLE",
    "TASK_GONE",
    "TASK_GONE_BY_OPERATOR",
    "TASK_UNKNOWN",
]
TASK_REASONS = [
    "REASON_COMMAND_EXECUTOR_FAILED",
    "REASON_CONTAINER_LAUNCH_FAILED",
    "REASON_CONTAINER_LIMITATION",
    "REASON_CONTAINER_LIMITATION_DISK",
    "REASON_CONTAINER_LIMITATION_MEMORY",
    "REASON_CONTAINER_PREEMPTED",
    "REASON_CONTAINER_UPDATE_FAILED",
    "REASON_MAX_COMPLETION_TIME_REACHED",
    "REASON_EXECUTOR_REGISTRATION_TIMEOUT",
    "REASON_EXECUTOR_REREGISTRATION_TIMEOUT",
    "REASON_EXECUTOR_TERMINATED",
    "REASON_EXECUTOR_UNREGISTERED",
    "REASON_FRAMEWORK_REMOVED",
    "REASON_GC_ERROR",
    "REASON_INVALID_FRAMEWORKID",
    "REASON_INVALID_OFFERS",
    "REASON_IO_SWITCHBOARD_EXITED",
    "REASON_MASTER_DISCONNECTED",
    "REASON_RECONCILIATION",
    "REASON_RESOURCES_UNKNOWN",
    "REASON_AGENT_DISCONNECTED",
    "REASON_AGENT_DRAINING",
    "REASON_AGENT_REMOVED",
    "REASON_AGENT_REMOVED_BY_OPERATOR",
    "REASON_AGENT_REREGISTERED",
    "REASON_AGENT_RESTARTED",
    "REASON_AGENT_UNKNOWN",
    "REASON_TASK_CHECK_STATUS_UPDATED",
    "REASON_TASK_GROUP_INVALID",
    "REASON_TASK_GROUP_UNAUTHORIZED",
    "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED",
    "REASON_TASK_INVALID",
    "REASON_TASK_KILLED_DURING_LAUNCH",
    "REASON_TASK_UNAUTHORIZED",
    "REASON_TASK_UNKNOWN",
]


def update(state: str, reason: str | None = None, report: Report | None = None) -> StatusUpdate:
    data = encode_report(report) if report else None
    return StatusUpdate("b.1", "agent", state, reason, message="it happened", data=data)


def test_the_tables_are_exhaustive() -> None:
    assert sorted(status.STATES) == sorted(TASK_STATES)
    assert sorted(status.REASONS) == sorted(TASK_REASONS)


@pytest.mark.parametrize(
    ("state", "reason"), list(itertools.product(TASK_STATES, [None, *TASK_REASONS]))
)
def test_every_state_with_every_reason_is_an_event(state: str, reason: str | None) -> None:
    """Terminal states end the attempt in some way, the others never do."""
    event = status.interpret(update(state, reason), 1)
    assert event.attempt == 1
    ends = (ev.TaskSucceeded, ev.TaskFailed, ev.TaskKilled, ev.TaskNeverStarted, ev.TaskLost)
    alive = (ev.TaskSeen, ev.TaskProgressed, ev.TaskUnreachable)
    if state in {"TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING"}:
        assert isinstance(event, ev.TaskSeen)
    elif state == "TASK_UNREACHABLE":
        assert isinstance(event, alive)
    else:
        assert isinstance(event, (*ends, ev.TaskMissing))
    # Success needs the executor's own word: a result.
    assert not isinstance(event, ev.TaskSucceeded)


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("TASK_DROPPED", "REASON_INVALID_OFFERS", ev.TaskNeverStarted),
        ("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED", ev.TaskNeverStarted),
        ("TASK_FAILED", "REASON_EXECUTOR_REGISTRATION_TIMEOUT", ev.TaskNeverStarted),
        ("TASK_ERROR", "REASON_TASK_INVALID", ev.TaskNeverStarted),
        ("TASK_FAILED", "REASON_EXECUTOR_TERMINATED", ev.TaskLost),
        ("TASK_GONE", "REASON_AGENT_REMOVED", ev.TaskLost),
        ("TASK_GONE", "REASON_RECONCILIATION", ev.TaskMissing),
        ("TASK_UNKNOWN", "REASON_RECONCILIATION", ev.TaskMissing),
        ("TASK_FAILED", "REASON_CONTAINER_LIMITATION_MEMORY", ev.TaskFailed),
        ("TASK_KILLED", None, ev.TaskKilled),
    ],
)
def test_what_matters_is_told_apart(state: str, reason: str, expected: type) -> None:
    assert isinstance(status.interpret(update(state, reason), 1), expected)


def test_a_void_offer_is_nobodys_fault_but_a_broken_container_is() -> None:
    void = status.interpret(update("TASK_DROPPED", "REASON_INVALID_OFFERS"), 1)
    broken = status.interpret(update("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED"), 1)
    assert isinstance(void, ev.TaskNeverStarted)
    assert isinstance(broken, ev.TaskNeverStarted)
    assert (void.offer_lost, broken.offer_lost) == (True, False)


def test_running_with_a_phase_is_progress() -> None:
    report = Report(phase=Phase.PUSHING, commit="c0ffee")
    assert status.interpret(update("TASK_RUNNING", None, report), 1) == ev.TaskProgressed(1, report)


def test_the_executors_word_goes_before_mesos() -> None:
    good = Report(outcome=Outcome.SUCCEEDED, digest="sha256:1")
    bad = Report(outcome=Outcome.FAILED, reason=Reason.STEP_FAILED, message="step 3")
    assert status.interpret(update("TASK_FINISHED", None, good), 1) == ev.TaskSucceeded(1, good)
    assert status.interpret(update("TASK_FAILED", None, bad), 1) == ev.TaskFailed(
        1, Reason.STEP_FAILED, "step 3", bad
    )


def test_finished_without_a_result_is_no_success() -> None:
    event = status.interpret(update("TASK_FINISHED"), 1)
    assert isinstance(event, ev.TaskLost)
    assert event.reason is Reason.RESULT_LOST


def test_an_unknown_state_of_a_newer_mesos_ends_nothing() -> None:
    assert status.interpret(update("TASK_LEVITATING"), 1) == ev.TaskSeen(1)


@pytest.mark.parametrize("reason", ["REASON_RECONCILIATION", "REASON_AGENT_REREGISTERED"])
def test_only_ends_that_the_master_tells_of_need_the_sandbox(reason: str) -> None:
    assert status.needs_result(update("TASK_FINISHED", reason))
    assert not status.needs_result(update("TASK_FINISHED"))
    assert not status.needs_result(update("TASK_RUNNING", reason))
    assert not status.needs_result(update("TASK_GONE", reason))
