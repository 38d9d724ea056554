"""The one exception by which a step of a build says why it cannot go on."""

from __future__ import annotations

from typing import ClassVar

from builder_framework.errors import BuilderError
from builder_framework.protocol import Reason


class BuildFailure(BuilderError):  # noqa: N818  (a failed build is a result, not a defect of ours)
    """A build ends here: `reason` for programs, the message for people (not yet redacted)."""

    code: ClassVar[str] = "build_failure"

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
