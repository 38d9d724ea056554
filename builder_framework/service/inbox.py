"""Brings the leader what followers accepted for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from builder_framework.errors import StoreUnavailableError
from builder_framework.service.inputs import Accepted
from builder_framework.service.outage import OutageLog
from builder_framework.store.base import Store

_POLL = 0.25
_POLL_AFTER_ERROR = 2.0
_AT_ONCE = 200
# A turn that could not be stored leaves the rows where they are: they are read again.
_PATIENCE = 30.0


class InboxReader:
    """One thread that reads the inbox and hands it to the loop, which empties it."""

    def __init__(self, store: Store, post: Callable[[Accepted], None]) -> None:
        self._store = store
        self._post = post
        self._outage = OutageLog("what followers accepted")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more; what is in the inbox stays there."""
        self._stopping.set()

    @property
    def alive(self) -> bool:
        """Whether the inbox is being read."""
        return self._thread.is_alive()

    def _run(self) -> None:
        wait = 0.0
        while not self._stopping.wait(wait):
            try:
                items = self._store.inbox(_AT_ONCE)
            except StoreUnavailableError as error:
                self._outage.met(error)
                wait = _POLL_AFTER_ERROR
                continue
            self._outage.over()
            wait = _POLL
            if items:
                accepted = Accepted(tuple(items))
                self._post(accepted)
                accepted.taken.wait(_PATIENCE)
