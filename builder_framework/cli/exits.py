"""Exit codes of `builder`. Part of its interface: scripts and CI jobs decide by them."""

from __future__ import annotations

from builder_framework.client import ApiError
from builder_framework.errors import (
    BuilderError,
    ConfigError,
    InvalidInputError,
    InvalidValueError,
    NotFoundError,
)

SUCCEEDED = 0
"""Done; with --follow or -f: the build succeeded."""
FAILED = 1
"""The build failed."""
USAGE = 2
"""Wrong flags or input; the server refused fields of the request."""
CANCELLED = 3
"""The build was cancelled."""
SERVER = 4
"""The server could not be reached, refused the user, or failed."""
REFUSED = 5
"""There is no such build or user, or its state does not allow this."""
DETACHED = 130
"""Ctrl-C. The build goes on."""

OF_STATE = {"SUCCEEDED": SUCCEEDED, "FAILED": FAILED, "CANCELLED": CANCELLED}
"""Exit code for a final state."""


def of_error(error: BuilderError) -> int:
    """Exit code for a command that ends with `error`."""
    if isinstance(error, ApiError):
        if error.status in (400, 413, 415):
            return USAGE
        return REFUSED if error.status in (404, 409) else SERVER
    if isinstance(error, NotFoundError):
        return REFUSED
    if isinstance(error, (InvalidInputError, InvalidValueError)):
        return SERVER if isinstance(error, ConfigError) else USAGE
    return SERVER
