"""Reads files of a task's sandbox through its agent's `/files/read` (Mesos' files/files.cpp)."""

from __future__ import annotations

import json
import ssl
from http.client import HTTPException
from urllib.parse import urlencode

from builder_framework.domain.model import Attempt
from builder_framework.errors import SandboxError
from builder_framework.mesos.connection import get

TIMEOUT = 10.0
# files.cpp never answers more than 16 pages.
PIECE = 64 * 1024
# In JSON one byte may take six.
_MOST = 8 * PIECE


class SandboxNotFoundError(SandboxError):
    """The agent answers, but has no such file (yet, or any more)."""

    code = "sandbox_not_found"
    recoverable = False


class AgentSandboxes:
    """`cluster.Sandboxes` over HTTP."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        """`tls`: for agents whose URL is https."""
        self._tls = tls

    def read(self, attempt: Attempt, file_name: str, offset: int) -> bytes:
        """At most `PIECE` bytes. Raises SandboxNotFoundError or SandboxError."""
        place = attempt.placement
        # The virtual path needs no knowledge of the agent's work directory.
        executor = f"/frameworks/{place.framework_id}/executors/{place.executor_id}"
        path = f"{executor}/runs/latest/{file_name}"
        query = urlencode({"path": path, "offset": offset, "length": PIECE})
        try:
            status, body = get(place.agent_url, f"/files/read?{query}", self._tls, TIMEOUT, _MOST)
        except (OSError, HTTPException, ValueError) as error:
            raise SandboxError(f"agent {place.agent_url} does not answer: {error}") from error
        if status == 404:
            raise SandboxNotFoundError(f"{file_name} is not in the sandbox")
        if status != 200:
            raise SandboxError(f"agent {place.agent_url} answers {status}")
        return _data(body)


def _data(body: bytes) -> bytes:
    """The bytes of a FilesRead answer.

    The agent puts raw bytes between the quotes, so a piece may begin or end inside a character.
    """
    try:
        text = json.loads(body.decode("utf-8", "surrogateescape"))["data"]
    except (ValueError, KeyError) as error:
        raise SandboxError("the agent's answer is not a piece of a file") from error
    data: bytes = text.encode("utf-8", "surrogateescape")
    return data
