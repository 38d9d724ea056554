"""An outage in the log: its begin, a reminder now and then, its end; however often it is met."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

REMIND_EVERY = 60.0
"""Seconds. The same fault is met four times a second by whoever works on."""


class OutageLog:
    """What one part, on its one thread, has to say about a thing that it cannot do for now."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`what`: the subject of each line, for example "changes of builds"."""
        self._what = what
        self._clock = clock
        self._began: float | None = None
        self._told = 0.0

    def met(self, error: Exception) -> None:
        """It failed, for the first time or again."""
        now = self._clock()
        if self._began is None:
            self._began = self._told = now
            log.error("%s must wait: %s", self._what, error)
        elif now - self._told >= REMIND_EVERY:
            self._told = now
            log.error("%s still wait after %.0f s: %s", self._what, now - self._began, error)

    def over(self) -> None:
        """It works, for the first time or again."""
        if self._began is not None:
            waited, self._began = self._clock() - self._began, None
            log.warning("%s go on after %.0f s", self._what, waited)
