"""Election by a lock on a file: for SQLite, whose processes are all on one machine."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from pathlib import Path

log = logging.getLogger(__name__)

FILE = "leader.lock"
"""In the directory of the data."""
_POLL = 0.25


class FileElection:
    """`Election` by flock(2). The kernel lets go when the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        """`directory`: where the data is."""
        self._path = directory / FILE
        self._descriptor: int | None = None

    def campaign(self, stopping: threading.Event) -> bool:
        told = False
        while not stopping.is_set():
            try:
                if self.attempt():
                    return True
            except OSError as error:
                if not told:
                    log.warning("%s cannot be locked: %s", self._path, error.strerror)
                told = True
            stopping.wait(_POLL)
        return False

    def attempt(self) -> bool:
        """Whether the lock could be had at once. Raises OSError."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        if self.held():
            return True
        # Deleted between opening and locking: others lock another file of that name.
        self.resign()
        return False

    def held(self) -> bool:
        descriptor = self._descriptor
        if descriptor is None:
            return False
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except OSError:
            return False

    def resign(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
