"""Election in ZooKeeper: the oldest of the ephemeral nodes under a path leads."""

from __future__ import annotations

import logging
import re
import socket
import threading
import uuid
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.protocol.states import KazooState

from builder_framework import zookeeper
from builder_framework.addresses import ZooKeeperAddress

log = logging.getLogger(__name__)

SESSION_TIMEOUT = 10.0
"""Seconds after which ZooKeeper takes a leader for dead that says nothing."""

# Watches tell of every change; looking anyway forgives a lost one.
_LOOK_AGAIN = 0.5
_CLOSE_TIMEOUT = 2.0
_CANDIDATE = re.compile(r"[0-9a-f]{32}-(\d{10})")


class ZooKeeperElection:
    """One candidate, for one term.

    A leader that is cut off from ZooKeeper believes that it leads until it hears that its session
    has ended; what protects the database until then is its fencing token.
    """

    def __init__(
        self, address: ZooKeeperAddress, *, session_timeout: float = SESSION_TIMEOUT
    ) -> None:
        """Candidates meet under the path of `address`, plus `/election`."""
        self._address = address
        self._path = f"{address.path}/election"
        self._client: KazooClient = zookeeper.client(address, session_timeout)
        self._client.add_listener(self._on_state)
        # By its name a node is found again when the answer to its creation was lost.
        self._name = uuid.uuid4().hex
        self._changed = threading.Event()
        self._guard = threading.Lock()
        self._elected = False
        self._sessions_lost = 0
        self._trouble: str | None = None

    def campaign(self, stopping: threading.Event) -> bool:
        """Wait until elected (True) or `stopping` is set (False), as long as it takes.

        ZooKeeper need not be there yet, and may go away meanwhile. Once only.
        """
        self._client.start_async()
        while not stopping.is_set():
            self._changed.clear()
            if self._try():
                return True
            self._changed.wait(_LOOK_AGAIN)
        return False

    def held(self) -> bool:
        """Whether this candidate was elected, and its session has not ended since."""
        return self._elected

    def resign(self) -> None:
        """Let another lead, at once where ZooKeeper answers."""
        with self._guard:
            self._elected = False
        closer = threading.Thread(target=zookeeper.close, args=(self._client,), daemon=True)
        closer.start()
        closer.join(_CLOSE_TIMEOUT)

    def _try(self) -> bool:
        sessions_lost = self._sessions_lost
        try:
            first = self._client.connected and self._is_first()
        except (KazooException, self._client.handler.timeout_exception) as error:
            self._report(f"no election now: {error!r}")
            return False
        with self._guard:
            # The session may have ended since the answer.
            self._elected = bool(first) and sessions_lost == self._sessions_lost
            return self._elected

    def _is_first(self) -> bool:
        self._wait(self._client.ensure_path_async(self._path))
        children = self._wait(self._client.get_children_async(self._path, self._on_change))
        candidates = [match for child in children if (match := _CANDIDATE.fullmatch(child))]
        if not any(match[0].startswith(self._name) for match in candidates):
            self._wait(
                self._client.create_async(
                    f"{self._path}/{self._name}-",
                    socket.gethostname().encode(),
                    ephemeral=True,
                    sequence=True,
                )
            )
            # Its creation is a change of the children that were just asked for.
            return False
        self._report("waiting for the leader to end")
        return min(candidates, key=lambda match: match[1])[0].startswith(self._name)

    def _wait(self, answer: Any) -> Any:
        return answer.get(timeout=zookeeper.ANSWER_TIMEOUT)

    def _on_state(self, state: str) -> None:
        if state == KazooState.LOST:
            with self._guard:
                self._sessions_lost += 1
                if self._elected:
                    log.error("%s: the session has ended; another may lead now", self._address)
                self._elected = False
        self._changed.set()

    def _on_change(self, _event: Any) -> None:
        self._changed.set()

    def _report(self, what: str) -> None:
        """Each state of affairs once."""
        if what != self._trouble:
            log.info("%s: %s", self._address, what)
        self._trouble = what
