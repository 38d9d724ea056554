"""Every task state and reason of Mesos 1.11, and what it means for an attempt.

The tables are exhaustive: `tests/unit/test_status.py` compares them with mesos.proto's enums.
"""

from __future__ import annotations

import enum
import logging

from builder_framework.cluster import StatusUpdate
from builder_framework.domain import events as ev
from builder_framework.errors import ProtocolError
from builder_framework.protocol import Outcome, Reason, Report, decode_report

log = logging.getLogger(__name__)

RECONCILIATION = "REASON_RECONCILIATION"

_FROM_THE_MASTER = frozenset({RECONCILIATION, "REASON_AGENT_REREGISTERED"})
"""Reasons of the master's own word on how a task stands, which is without the executor's."""


class Meaning(enum.Enum):
    """What a task state says, before its reason is looked at."""

    SEEN = "alive, not yet running"
    RUNNING = "running"
    ENDED = "ended by the executor or its agent"
    NEVER_STARTED = "certainly never ran"
    INVALID = "refused by the master as faulty"
    LOST = "gone, nobody knows how far it came"
    UNREACHABLE = "the agent is away, the task may run"
    UNKNOWN = "the master does not know the task"


# TaskState in mesos.proto (1.11.0). PARTITION_AWARE frameworks get DROPPED, UNREACHABLE, GONE,
# GONE_BY_OPERATOR and UNKNOWN where others get LOST.
STATES: dict[str, Meaning] = {
    "TASK_STAGING": Meaning.SEEN,
    "TASK_STARTING": Meaning.SEEN,
    "TASK_RUNNING": Meaning.RUNNING,
    "TASK_KILLING": Meaning.RUNNING,
    "TASK_FINISHED": Meaning.ENDED,
    "TASK_FAILED": Meaning.ENDED,
    "TASK_KILLED": Meaning.ENDED,
    "TASK_ERROR": Meaning.INVALID,
    "TASK_LOST": Meaning.LOST,
    "TASK_DROPPED": Meaning.NEVER_STARTED,
    "TASK_UNREACHABLE": Meaning.UNREACHABLE,
    "TASK_GONE": Meaning.LOST,
    "TASK_GONE_BY_OPERATOR": Meaning.LOST,
    "TASK_UNKNOWN": Meaning.UNKNOWN,
}


class Blame(enum.Enum):
    """What a reason adds to a state that ended a task without the executor's word."""

    NONE = "nothing more than the state says"
    NOT_STARTED = "the container or executor did not come up: no step of the build ran"
    OFFER = "the offer was void: nobody's fault, try at once"
    EXECUTOR = "the executor is gone"
    AGENT = "the agent is gone"
    MEMORY = "the task used more memory than it asked for"
    DISK = "the task used more disk than it asked for"
    TIMEOUT = "Mesos' own max_completion_time passed"
    INVALID = "the master refuses the task"


# TaskStatus.Reason in v1/mesos.proto (1.11.0): what mesos.proto calls SLAVE is AGENT there.
REASONS: dict[str, Blame] = {
    "REASON_COMMAND_EXECUTOR_FAILED": Blame.EXECUTOR,
    "REASON_CONTAINER_LAUNCH_FAILED": Blame.NOT_STARTED,
    "REASON_CONTAINER_LIMITATION": Blame.EXECUTOR,
    "REASON_CONTAINER_LIMITATION_DISK": Blame.DISK,
    "REASON_CONTAINER_LIMITATION_MEMORY": Blame.MEMORY,
    "REASON_CONTAINER_PREEMPTED": Blame.EXECUTOR,
    "REASON_CONTAINER_UPDATE_FAILED": Blame.EXECUTOR,
    "REASON_MAX_COMPLETION_TIME_REACHED": Blame.TIMEOUT,
    "REASON_EXECUTOR_REGISTRATION_TIMEOUT": Blame.NOT_STARTED,
    "REASON_EXECUTOR_REREGISTRATION_TIMEOUT": Blame.EXECUTOR,
    "REASON_EXECUTOR_TERMINATED": Blame.EXECUTOR,
    "REASON_EXECUTOR_UNREGISTERED": Blame.NOT_STARTED,
    "REASON_FRAMEWORK_REMOVED": Blame.EXECUTOR,
    "REASON_GC_ERROR": Blame.NOT_STARTED,
    "REASON_INVALID_FRAMEWORKID": Blame.INVALID,
    "REASON_INVALID_OFFERS": Blame.OFFER,
    "REASON_IO_SWITCHBOARD_EXITED": Blame.EXECUTOR,
    "REASON_MASTER_DISCONNECTED": Blame.OFFER,
    "REASON_RECONCILIATION": Blame.NONE,
    "REASON_RESOURCES_UNKNOWN": Blame.OFFER,
    "REASON_AGENT_DISCONNECTED": Blame.AGENT,
    "REASON_AGENT_DRAINING": Blame.AGENT,
    "REASON_AGENT_REMOVED": Blame.AGENT,
    "REASON_AGENT_REMOVED_BY_OPERATOR": Blame.AGENT,
    "REASON_AGENT_REREGISTERED": Blame.NONE,
    "REASON_AGENT_RESTARTED": Blame.AGENT,
    "REASON_AGENT_UNKNOWN": Blame.AGENT,
    "REASON_TASK_KILLED_DURING_LAUNCH": Blame.NONE,
    "REASON_TASK_CHECK_STATUS_UPDATED": Blame.NONE,
    "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED": Blame.NONE,
    "REASON_TASK_GROUP_INVALID": Blame.INVALID,
    "REASON_TASK_GROUP_UNAUTHORIZED": Blame.INVALID,
    "REASON_TASK_INVALID": Blame.INVALID,
    "REASON_TASK_UNAUTHORIZED": Blame.INVALID,
    "REASON_TASK_UNKNOWN": Blame.NONE,
}

_FAILURES: dict[Blame, Reason] = {
    Blame.NONE: Reason.EXECUTOR_LOST,
    Blame.EXECUTOR: Reason.EXECUTOR_LOST,
    Blame.AGENT: Reason.AGENT_LOST,
    Blame.MEMORY: Reason.OUT_OF_MEMORY,
    Blame.DISK: Reason.DISK_FULL,
    Blame.TIMEOUT: Reason.TIMEOUT,
    Blame.INVALID: Reason.TASK_INVALID,
    Blame.NOT_STARTED: Reason.LAUNCH_FAILED,
    Blame.OFFER: Reason.LAUNCH_FAILED,
}


def needs_result(update: StatusUpdate) -> bool:
    """Whether the task has ended but this update cannot say how.

    The master answers reconciliation, and tells of tasks whose agent was unreachable and is back,
    without `data`; the executor's last report then comes with the agent's own update, or is read
    from the sandbox.
    """
    return STATES.get(update.state) is Meaning.ENDED and update.reason in _FROM_THE_MASTER


def interpret(update: StatusUpdate, attempt: int) -> ev.TaskEvent:
    """The event that `update` is for attempt number `attempt`."""
    meaning = STATES.get(update.state)
    blame = REASONS.get(update.reason or "", Blame.NONE)
    report = _report(update)
    text = _sentence(update)
    match meaning:
        case Meaning.SEEN:
            return ev.TaskSeen(attempt)
        case Meaning.RUNNING:
            if report is not None and report.outcome is None:
                return ev.TaskProgressed(attempt, report)
            return ev.TaskSeen(attempt, running=True)
        case Meaning.ENDED:
            return _ended(update, attempt, blame, report, text)
        case Meaning.NEVER_STARTED:
            return ev.TaskNeverStarted(
                attempt, Reason.LAUNCH_FAILED, text, offer_lost=blame is Blame.OFFER
            )
        case Meaning.INVALID:
            return ev.TaskNeverStarted(attempt, Reason.TASK_INVALID, text)
        case Meaning.UNREACHABLE:
            return ev.TaskUnreachable(attempt, text)
        case Meaning.LOST if update.reason != RECONCILIATION:
            reason = _FAILURES[blame] if blame is not Blame.NONE else Reason.AGENT_LOST
            return ev.TaskLost(attempt, reason, text)
        case Meaning.LOST | Meaning.UNKNOWN:
            return ev.TaskMissing(attempt, text)
        case _:
            # A newer Mesos: alive is the only safe reading, the deadlines do the rest.
            log.warning("unknown task state %s of task %s", update.state, update.task_id)
            return ev.TaskSeen(attempt)


def _ended(
    update: StatusUpdate, attempt: int, blame: Blame, report: Report | None, text: str
) -> ev.TaskEvent:
    if report is not None and report.outcome is not None:
        return from_report(attempt, report)
    if update.state == "TASK_FINISHED":
        return ev.TaskLost(attempt, Reason.RESULT_LOST, f"the task ended without a result: {text}")
    if update.state == "TASK_KILLED":
        return ev.TaskKilled(attempt, text)
    if blame in (Blame.NOT_STARTED, Blame.OFFER):
        return ev.TaskNeverStarted(
            attempt, Reason.LAUNCH_FAILED, text, offer_lost=blame is Blame.OFFER
        )
    if blame in (Blame.MEMORY, Blame.DISK, Blame.TIMEOUT):
        return ev.TaskFailed(attempt, _FAILURES[blame], text)
    return ev.TaskLost(attempt, _FAILURES[blame], text)


def from_report(attempt: int, report: Report) -> ev.TaskEvent:
    """The event of an executor's last report. Raises ProtocolError for one without an outcome."""
    match report.outcome:
        case Outcome.SUCCEEDED:
            return ev.TaskSucceeded(attempt, report)
        case Outcome.KILLED:
            return ev.TaskKilled(attempt, report.message or "", report)
        case Outcome.FAILED:
            reason = report.reason or Reason.EXECUTOR_ERROR
            return ev.TaskFailed(attempt, reason, report.message or "the build failed", report)
        case _:
            raise ProtocolError("a last report without an outcome")


def _report(update: StatusUpdate) -> Report | None:
    if not update.data:
        return None
    try:
        return decode_report(update.data)
    except ProtocolError as error:
        log.warning("task %s sent what is no report: %s", update.task_id, error)
        return None


def _sentence(update: StatusUpdate) -> str:
    name = update.reason.removeprefix("REASON_").lower() if update.reason else update.state
    return f"{update.message} ({name})" if update.message else f"Mesos says {name}"
