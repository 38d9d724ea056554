"""What goes wrong between client and server."""

from __future__ import annotations

from typing import ClassVar

from builder_framework.errors import BuilderError, FieldProblem

TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})

UNCHANGED = frozenset({429, 503})
"""With these the server says that it has done nothing."""


class ApiError(BuilderError):
    """The server answered, but not with what was asked for.

    `problem_code`: its `code`, as docs/api.md lists them; `problems`: faulty fields. `retry_after`:
    seconds, if the server said so.
    """

    code: ClassVar[str] = "api_error"

    def __init__(
        self,
        status: int,
        problem_code: str,
        message: str,
        problems: tuple[FieldProblem, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem_code = problem_code
        self.problems = problems
        self.retry_after = retry_after

    @property
    def temporary(self) -> bool:
        """Whether the same request may work a little later."""
        return self.status in TEMPORARY


class ConnectionFailedError(BuilderError):
    """No answer, or one that broke off."""

    code: ClassVar[str] = "connection_failed"
    recoverable: ClassVar[bool] = True
