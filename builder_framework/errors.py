"""The one family of errors: each has a stable code for programs and a sentence for people.

Whether trying again can help is decided where the error is raised, not by whoever catches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldProblem:
    """One faulty field of some input: its dotted path and what to do about it."""

    field: str
    problem: str


class BuilderError(Exception):
    """Root of every error this project raises on purpose.

    `code` is part of the API (problem+json carries it); `recoverable` says that the same
    call may succeed later without the caller changing anything.
    """

    code: ClassVar[str] = "internal_error"
    recoverable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInputError(BuilderError):
    """Input from outside was wrong; every faulty field is listed at once."""

    code = "invalid_input"

    def __init__(self, problems: Sequence[FieldProblem], message: str | None = None) -> None:
        self.problems = tuple(problems)
        text = message or "; ".join(f"{p.field}: {p.problem}" for p in self.problems)
        super().__init__(text)


class InvalidValueError(BuilderError):
    """One value does not follow its grammar. `validate` raises it; the caller knows the field."""

    code = "invalid_value"


class ConfigError(InvalidInputError):
    """The settings of a process are wrong; it must not start."""

    code = "invalid_config"


class ProtocolError(BuilderError):
    """A message between framework and executor does not decode, or has another version."""

    code = "protocol_error"


class NotFoundError(BuilderError):
    """No such build (or none that the caller may see)."""

    code = "not_found"


def no_build(build_id: str) -> NotFoundError:
    """Whether there is none, or none for the caller to see: in the same words."""
    return NotFoundError(f"there is no build {build_id!r}")


def no_project(name: str) -> NotFoundError:
    """As `no_build`."""
    return NotFoundError(f"there is no project {name!r}")


class ConflictError(BuilderError):
    """The request contradicts the state: an idempotency key used twice, a build already ended."""

    code = "conflict"


class NotSubscribedError(BuilderError):
    """A scheduler call was certainly not sent: there is no subscription to a master right now."""

    code = "not_subscribed"
    recoverable = True


class CallError(BuilderError):
    """A scheduler call may or may not have reached the master (time-out, reset, 4xx, 5xx)."""

    code = "mesos_call_failed"
    recoverable = True


class StoreUnavailableError(BuilderError):
    """The database does not take reads or writes right now; nothing was changed."""

    code = "store_unavailable"
    recoverable = True


class StaleWriteError(BuilderError):
    """A compare-and-set found another version: somebody else changed the build meanwhile."""

    code = "stale_write"


class LeadershipLostError(BuilderError):
    """Another process leads (or this one never did): it must not write, and had better end."""

    code = "leadership_lost"


class SchemaError(BuilderError):
    """The database was made for another version of this program, which alone may write to it."""

    code = "wrong_schema"


class SealError(BuilderError):
    """A value of the database is not sealed, or cannot be opened with the keys of this process.

    Its sentence names the place, the ids of keys and the remedy, never a value.
    """

    code = "cannot_open"


class BackupError(BuilderError):
    """A backup could not be made or restored; the database is what it was."""

    code = "backup_failed"


class SandboxError(BuilderError):
    """A file of a task's sandbox could not be read from its agent."""

    code = "sandbox_unavailable"
    recoverable = True


class ForgeError(BuilderError):
    """A forge did not give a file of a repository; its sentence is for people.

    `passing`: whether this one may be gone later; a file that is too large stays so.
    """

    code = "forge_unavailable"
    recoverable = True

    def __init__(self, message: str, *, passing: bool = True) -> None:
        super().__init__(message)
        self.passing = passing
