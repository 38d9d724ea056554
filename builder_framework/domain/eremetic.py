"""A build as Eremetic's clients see it: the list of its states, an id of their form, and
what its callback says. Pure.

Everything follows from the build, so nothing has to be kept, and no client sees a step that was
not stored.
"""

from __future__ import annotations

import enum
import json
import re
import uuid

from builder_framework.domain.model import ID_ALPHABET, Attempt, Build
from builder_framework.domain.states import State
from builder_framework.protocol import Reason

PREFIX = "eremetic-task."
"""What every id of a task begins with."""

_HEX = "[0-9a-f]"
_TASK_ID = re.compile(
    rf"{re.escape(PREFIX)}(?P<uuid>{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}})", re.ASCII
)
_MIDDLE_BITS = 12
_LOW_BITS = 20


class Status(str, enum.Enum):
    """States of a task, as Eremetic names those that a build can be in (task.go)."""

    QUEUED = "TASK_QUEUED"
    STAGING = "TASK_STAGING"
    RUNNING = "TASK_RUNNING"
    TERMINATING = "TASK_TERMINATING"
    FINISHED = "TASK_FINISHED"
    FAILED = "TASK_FAILED"
    KILLED = "TASK_KILLED"
    LOST = "TASK_LOST"
    ERROR = "TASK_ERROR"


class Group(str, enum.Enum):
    """What a listing can be asked for."""

    ACTIVE = "active"
    QUEUED = "queued"
    TERMINATED = "terminated"


_LOST = frozenset({Reason.AGENT_LOST, Reason.EXECUTOR_LOST, Reason.RESULT_LOST})


def statuses(build: Build) -> tuple[tuple[int, Status], ...]:
    """(seconds since the epoch, state) of everything so far, the oldest first.

    A build forgets when it was asked to end once it is over: TERMINATING then has the time of that.
    """
    told = [(build.created_at, Status.QUEUED)]
    for attempt in build.attempts:
        told += _of_attempt(build, attempt)
    ended = build.ended_at or build.state_since
    if build.stop is not None and build.stop.state is State.CANCELLED:
        told.append((build.stop.requested_at, Status.TERMINATING))
    elif build.state is State.CANCELLED and _ended_with(build):
        told.append((ended, Status.TERMINATING))
    if build.terminal:
        told.append((ended, end_of(build.state, build.reason)))
    return tuple((int(at), status) for at, status in told)


def _of_attempt(build: Build, attempt: Attempt) -> list[tuple[float, Status]]:
    told = [(attempt.placed_at, Status.STAGING)]
    if attempt.running_at is not None:
        told.append((attempt.running_at, Status.RUNNING))
    final = attempt is build.current and _ended_with(build)
    if attempt.ended_at is not None and not final:
        why = Status.LOST if attempt.reason in _LOST else Status.FAILED
        told += [(attempt.ended_at, why), (attempt.ended_at, Status.QUEUED)]
    return told


def _ended_with(build: Build) -> bool:
    """Whether the build ended with its last attempt, not while it waited for another one."""
    current = build.current
    return build.terminal and current is not None and current.ended_at == build.ended_at


def end_of(state: State, reason: Reason | None) -> Status:
    """How a build in this final state has ended."""
    if state is State.SUCCEEDED:
        return Status.FINISHED
    if state is State.CANCELLED:
        return Status.KILLED
    if reason is Reason.TASK_INVALID:
        return Status.ERROR
    return Status.LOST if reason in _LOST else Status.FAILED


def status(build: Build) -> Status:
    """Its state now."""
    return statuses(build)[-1][1]


def group(build: Build) -> Group:
    """Where a listing has it."""
    if build.terminal:
        return Group.TERMINATED
    return Group.QUEUED if build.state is State.QUEUED else Group.ACTIVE


def callback(build: Build) -> str:
    """What its callback is sent (callback.go), as JSON; for a build that is over."""
    at, ended = statuses(build)[-1]
    told = {"time": at, "status": ended.value, "task_id": task_name(build.id)}
    return json.dumps(told, separators=(",", ":"))


def task_name(build_id: str) -> str:
    """The id under which Eremetic's clients know a build: the prefix and a UUID.

    Clients look for a UUID's form. RFC 9562 leaves version 8 to whoever makes one: the 80 bits of
    our own id are in it, so that nobody has to keep which is which.
    """
    number = 0
    for letter in build_id:
        number = number << 5 | ID_ALPHABET.index(letter)
    high = number >> (_MIDDLE_BITS + _LOW_BITS)
    middle = number >> _LOW_BITS & (1 << _MIDDLE_BITS) - 1
    low = number & (1 << _LOW_BITS) - 1
    return f"{PREFIX}{uuid.UUID(int=high << 80 | 8 << 76 | middle << 64 | 2 << 62 | low)}"


def build_of(name: str) -> str | None:
    """The build's id in a task's; None for what `task_name` did not make."""
    match = _TASK_ID.fullmatch(name)
    if match is None:
        return None
    whole = uuid.UUID(match["uuid"]).int
    high, middle, low = whole >> 80, whole >> 64 & 0xFFF, whole & (1 << _LOW_BITS) - 1
    number = high << (_MIDDLE_BITS + _LOW_BITS) | middle << _LOW_BITS | low
    build_id = "".join(ID_ALPHABET[number >> shift & 31] for shift in range(75, -1, -5))
    return build_id if task_name(build_id) == name else None
