"""What has to be asked of agents themselves."""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import Callable
from http.client import HTTPException

from builder_framework.mesos.connection import get

log = logging.getLogger(__name__)

TIMEOUT = 3.0
# An agent that did not answer is not asked again for each launch.
_ASK_AGAIN = 60.0
_MOST = 1024 * 1024


class AgentWorkDirs:
    """Agent id -> its work directory, asked once: `--work_dir` never changes under an id."""

    def __init__(self, tls: ssl.SSLContext, clock: Callable[[], float] = time.monotonic) -> None:
        """`tls`: for agents whose URL is https."""
        self._tls = tls
        self._clock = clock
        self._known: dict[str, str] = {}
        self._silent: dict[str, float] = {}

    def checkpoints(self, agent_id: str, agent_url: str) -> str | None:
        """The agent's `WORK_DIR/meta`; None when it does not tell."""
        if agent_id not in self._known and self._clock() >= self._silent.get(agent_id, 0.0):
            work_dir = _ask(agent_url, self._tls)
            if work_dir is None:
                self._silent[agent_id] = self._clock() + _ASK_AGAIN
            else:
                self._known[agent_id] = work_dir
        known = self._known.get(agent_id)
        return f"{known.rstrip('/')}/meta" if known else None


def _ask(agent_url: str, tls: ssl.SSLContext) -> str | None:
    """`work_dir` of `/slave(1)/flags`, the name of every agent's process (slave/main.cpp)."""
    try:
        _, body = get(agent_url, "/slave(1)/flags", tls, TIMEOUT, _MOST)
        work_dir = json.loads(body)["flags"]["work_dir"]
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        log.info("agent %s does not tell its work directory: %r", agent_url, error)
        return None
    return work_dir if isinstance(work_dir, str) and work_dir.startswith("/") else None
