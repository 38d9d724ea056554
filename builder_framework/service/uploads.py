"""Removes uploads whose build is over."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from builder_framework.errors import LeadershipLostError, StoreUnavailableError
from builder_framework.service.outage import OutageLog

log = logging.getLogger(__name__)

INTERVAL = 30.0
"""Seconds."""


class UploadSweeper:
    """One thread of the leader's. `sweep`: as `store.uploads.SqlUploads.sweep`."""

    def __init__(self, sweep: Callable[[float], int], interval: float = INTERVAL) -> None:
        self._sweep = sweep
        self._interval = interval
        self._outage = OutageLog("the removal of uploads")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Remove no more."""
        self._stopping.set()

    @property
    def alive(self) -> bool:
        """Whether it goes on."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            try:
                gone = self._sweep(time.time())
            except StoreUnavailableError as error:
                self._outage.met(error)
                continue
            except LeadershipLostError:
                return  # the loop ends the process
            self._outage.over()
            if gone:
                log.info("removed %d uploads", gone)
