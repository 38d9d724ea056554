"""What happened to a build. Past tense, values only; `machine.step` decides what it means."""

from __future__ import annotations

from dataclasses import dataclass

from builder_framework.domain.model import BuildRequest, Placement
from builder_framework.protocol import Reason, Report


@dataclass(frozen=True)
class Submitted:
    """A valid request was received from `owner`. `supersedes`: builds that end with it."""

    build_id: str
    request: BuildRequest
    owner: str
    supersedes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placed:
    """An offer was found for the build."""

    placement: Placement


@dataclass(frozen=True)
class TaskSeen:
    """The task is alive, without news of its own (STAGING, STARTING, KILLING, a reconciliation)."""

    attempt: int
    running: bool = False


@dataclass(frozen=True)
class TaskProgressed:
    """The executor reported that a phase began."""

    attempt: int
    report: Report


@dataclass(frozen=True)
class TaskSucceeded:
    """The image is built and pushed."""

    attempt: int
    report: Report


@dataclass(frozen=True)
class TaskFailed:
    """The build itself failed, or Mesos ended its task for a known reason."""

    attempt: int
    reason: Reason
    message: str
    report: Report | None = None


@dataclass(frozen=True)
class TaskKilled:
    """The task was stopped from outside: by us, or by an operator or a drained agent."""

    attempt: int
    message: str = ""
    report: Report | None = None


@dataclass(frozen=True)
class TaskNeverStarted:
    """The task certainly did not run. `offer_lost`: the offer was gone, nobody's fault."""

    attempt: int
    reason: Reason
    message: str
    offer_lost: bool = False


@dataclass(frozen=True)
class TaskLost:
    """The task is gone and nobody can say how far it came."""

    attempt: int
    reason: Reason
    message: str


@dataclass(frozen=True)
class TaskMissing:
    """Asked about the task, the master answers that its agent does not have it."""

    attempt: int
    message: str


@dataclass(frozen=True)
class TaskUnreachable:
    """The agent does not answer the master; the task may still run."""

    attempt: int
    message: str = ""


@dataclass(frozen=True)
class LeaseRequested:
    """The executor asks whether it may publish `digest`; see `protocol.LeaseRequest`."""

    attempt: int
    nonce: str
    digest: str
    replaces: str | None = None


@dataclass(frozen=True)
class CancelRequested:
    """Somebody wants the build to end. `superseded_by`: the id of the build that comes instead.

    `unattended`: seconds for which nobody followed it who had to.
    """

    by: str
    superseded_by: str | None = None
    unattended: float | None = None


@dataclass(frozen=True)
class Joined:
    """Somebody asked for the same again, and was given this build; see `domain.dedupe`."""


@dataclass(frozen=True)
class QueueExpired:
    """`queue_ttl` passed before the build could be placed."""


@dataclass(frozen=True)
class StagingExpired:
    """The task was placed but did not start in time."""


@dataclass(frozen=True)
class RunExpired:
    """`timeout` (and the executor's time to notice it by itself) passed."""


@dataclass(frozen=True)
class KillRetryDue:
    """A task that was told to stop has not said so yet."""


@dataclass(frozen=True)
class StopExpired:
    """A task that was told to stop never said so."""


@dataclass(frozen=True)
class UnreachableExpired:
    """The agent stayed away for longer than we wait."""


@dataclass(frozen=True)
class LogStarted:
    """The first byte of an attempt's log is about to be stored at `offset` of the build's log."""

    attempt: int
    offset: int


@dataclass(frozen=True)
class LogCompleted:
    """The log of a build that is over was fetched to its end, or can never be."""


TaskEvent = (
    TaskSeen
    | TaskProgressed
    | TaskSucceeded
    | TaskFailed
    | TaskKilled
    | TaskNeverStarted
    | TaskLost
    | TaskMissing
    | TaskUnreachable
    | LeaseRequested
)
TimerEvent = (
    QueueExpired | StagingExpired | RunExpired | KillRetryDue | StopExpired | UnreachableExpired
)
Event = (
    Submitted
    | Placed
    | TaskEvent
    | CancelRequested
    | Joined
    | TimerEvent
    | LogStarted
    | LogCompleted
)
