"""Places at which a test lets this process die: `T5.before` is just before the intent is stored.

Off unless BUILDER_FAILPOINT names one and BUILDER_FAILPOINTS_ALLOWED is 1; `docs/testing.md`.
"""

from __future__ import annotations

import enum
import logging
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from builder_framework.errors import ConfigError, FieldProblem

log = logging.getLogger(__name__)

VARIABLE = "BUILDER_FAILPOINT"
PERMISSION = "BUILDER_FAILPOINTS_ALLOWED"

MOMENTS: Mapping[str, str] = {
    "T1": "a request is parsed",
    "T2": "a new build is committed, its 202 not sent",
    "T3": "the loop has a new build in its queue",
    "T4": "an offer is chosen",
    "T5": "the intent to launch is committed",
    "T6": "ACCEPT is sent",
    "T7": "the answer to ACCEPT is read",
    "T8": "STARTING or RUNNING is received",
    "T9": "RUNNING is committed",
    "T10": "RUNNING is acknowledged",
    "T11": "a terminal update is received",
    "T12": "a terminal state is committed",
    "T13": "a terminal update is acknowledged",
    "T14": "a delivery is written to the webhook outbox",
    "T15": "a delivery is sent, and not marked as sent",
    "T16": "KILL is sent",
    "T17": "the framework id is stored",
    "T18": "the schema is migrated",
    "T19": "tasks are reconciled",
    "T20": "a piece of a log is appended",
    "T21": "a lease is granted",
}
"""What happens between the point's `.before` and its `.after`."""

POINTS = tuple(f"{moment}.{side}" for moment in MOMENTS for side in ("before", "after"))

_RUNNING = frozenset({"RUNNING", "TASK_STARTING", "TASK_RUNNING"})
_OVER = frozenset(
    {
        "SUCCEEDED",
        "FAILED",
        "CANCELLED",
        "TASK_FINISHED",
        "TASK_FAILED",
        "TASK_KILLED",
        "TASK_ERROR",
        "TASK_LOST",
        "TASK_DROPPED",
        "TASK_GONE",
        "TASK_GONE_BY_OPERATOR",
    }
)
_GRAMMAR = re.compile(r"(?P<point>T\d+\.\w+):(?P<action>\w+)(?:\*(?P<time>[1-9]\d{0,5}))?")


class FailPointError(RuntimeError):
    """What the action `raise` raises: a defect that nobody foresaw."""


class Action(enum.Enum):
    """What happens to the process."""

    EXIT = "exit9"
    STOP = "stop"
    RAISE = "raise"


@dataclass
class FailPoint:
    """Does its action when it is reached for the `left`-th time from now, and only then."""

    name: str
    action: Action
    left: int = 1

    def reached(self) -> None:
        """Count, and act when the time has come."""
        self.left -= 1
        if self.left != 0:
            return
        log.critical("fail point %s: %s", self.name, self.action.value)
        match self.action:
            case Action.EXIT:
                os.kill(os.getpid(), signal.SIGKILL)
            case Action.STOP:
                os.kill(os.getpid(), signal.SIGSTOP)
            case Action.RAISE:
                raise FailPointError(f"fail point {self.name}")


def parse(text: str) -> FailPoint:
    """`T5.before:exit9`, or `T5.before:exit9*2` for the second time. Raises ConfigError."""
    found = _GRAMMAR.fullmatch(text)
    actions = {action.value: action for action in Action}
    if found is None or found["point"] not in POINTS or found["action"] not in actions:
        raise _wrong(
            f"is no fail point: write POINT.before or POINT.after with a POINT of T1 to "
            f"T{len(MOMENTS)}, a colon, one of {', '.join(actions)}, and *N for the Nth time"
        )
    return FailPoint(found["point"], actions[found["action"]], int(found["time"] or 1))


def arm(environment: Mapping[str, str]) -> None:
    """Take the fail point from the environment. Raises ConfigError unless it is allowed there."""
    global _armed  # noqa: PLW0603 (one per process, like the death it brings)
    text = environment.get(VARIABLE)
    if text and environment.get(PERMISSION) != "1":
        raise _wrong(f"ends this process on purpose: unset it, or set {PERMISSION}=1 in a test")
    _armed = parse(text) if text else None
    if _armed is not None:
        log.warning("armed: fail point %s, %s", _armed.name, _armed.action.value)


def reach(name: str, *, when: bool = True) -> None:
    """The process is at this point. Nothing happens unless it is armed."""
    if _armed is not None and when and _armed.name == name:
        _armed.reached()


def reach_in(state: str, running: str, over: str) -> None:
    """Reach one point where a task or build of this state runs, the other where it is over."""
    if _armed is not None:
        reach(running, when=state in _RUNNING)
        reach(over, when=state in _OVER)


def _wrong(problem: str) -> ConfigError:
    return ConfigError([FieldProblem(VARIABLE, problem)])


_armed: FailPoint | None = None
