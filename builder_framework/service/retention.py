"""Removes what is older than operators want to keep, a little at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from builder_framework.errors import LeadershipLostError, StoreUnavailableError
from builder_framework.service.outage import OutageLog

log = logging.getLogger(__name__)

INTERVAL = 60.0
"""Seconds between two looks."""

Sweep = Callable[[float], int]
"""Removes what is from before a moment (seconds since the epoch), in small transactions; how many.

Raises StoreUnavailableError, LeadershipLostError.
"""


class Retention:
    """One thread of the leader's."""

    def __init__(
        self,
        sweeps: Mapping[str, tuple[float, Sweep]],
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`sweeps`: by what they remove, with the seconds that it is kept."""
        self._sweeps = sweeps
        self._interval = interval
        self._clock = clock
        self._outage = OutageLog("the removal of what is old")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

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
            for what, (kept, sweep) in self._sweeps.items():
                try:
                    gone = sweep(self._clock() - kept)
                except StoreUnavailableError as error:
                    self._outage.met(error)
                    continue
                except LeadershipLostError:
                    return  # the loop ends the process
                self._outage.over()
                if gone:
                    log.info("removed %d %s that were older than %.0f s", gone, what, kept)
