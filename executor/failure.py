"""The one exception by which a step of a build says why it cannot go on."""

from __future__ import annotations

from typing import ClassVar

from builder_framework.errors import BuilderError
from builder_framework.protocol import FailedStep, Reason

SURROUNDINGS = frozenset({Reason.ENGINE_FAILED, Reason.DISK_FULL})
"""Never the build's own fault: another agent may have a working engine, or room."""


class BuildFailure(BuilderError):  # noqa: N818  (a failed build is a result, not a defect of ours)
    """A build ends here: `reason` for programs, the message for people (not yet redacted).

    `transient`: the surroundings failed, another try may succeed; by default the reason decides.
    `patience`: seconds for which the same step may be tried again at most, where that is less
    than usual. `retry_after`: seconds that a server asked to be left alone. `step`: what failed.
    """

    code: ClassVar[str] = "build_failure"

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        transient: bool | None = None,
        patience: float = float("inf"),
        retry_after: float = 0.0,
        step: FailedStep | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.transient = reason in SURROUNDINGS if transient is None else transient
        self.patience = patience
        self.retry_after = retry_after
        self.step = step
