"""Stopping a build: one token per task, asked at every wait, never by killing threads."""

from __future__ import annotations

import contextlib
import enum
import threading
import time
from collections.abc import Callable, Iterator

DEFAULT_GRACE = 5.0
"""Seconds; what a Mesos agent grants an executor by default (slave/constants.hpp)."""


FINISH_RESERVE = 2.0
"""Seconds of the grace period that what must be finished leaves for the last update."""

_TICK = 0.1


class Stop(enum.Enum):
    """Who wants the build to stop."""

    KILL = "kill"
    SHUTDOWN = "shutdown"
    TIMEOUT = "timeout"
    DISK = "disk"


class Stopped(Exception):  # noqa: N818  (control flow, as GeneratorExit is)
    """Raised in the build's own thread once its token is cancelled."""


class CancelToken:
    """Cancelled once, by the first who asks; a passed deadline cancels it, too."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._why: Stop | None = None
        self._deadline: float | None = None
        self._grace = DEFAULT_GRACE
        self._stopped_at = 0.0
        self._finishing = False

    def set_timeout(self, seconds: float) -> None:
        """The build must have ended in `seconds` from now."""
        self._deadline = self._clock() + seconds

    def cancel(self, why: Stop, grace: float = DEFAULT_GRACE) -> bool:
        """Ask the build to stop within `grace` seconds. True if nobody asked before."""
        with self._lock:
            first = self._why is None
            if first:
                self._why = why
                self._stopped_at = self._clock()
            # A later request may still shorten the time that is left.
            self._grace = grace if first else min(self._grace, grace)
            self._event.set()
            return first

    @property
    def why(self) -> Stop | None:
        """Who stopped the build, or None while it may go on."""
        deadline = self._deadline
        if self._why is None and deadline is not None and self._clock() >= deadline:
            self.cancel(Stop.TIMEOUT)
        return self._why

    @property
    def patience(self) -> float:
        """Seconds between TERM and KILL for each thing to be ended.

        A third of the grace period: child, engine and the last update come one after another.
        """
        return min(5.0, max(0.3, self._grace / 3))

    @property
    def left(self) -> float:
        """Seconds until `check` raises: not positive once it does, infinite while nobody stops."""
        if self.why is None:
            deadline = self._deadline
            return float("inf") if deadline is None else deadline - self._clock()
        if not self._finishing:
            return 0.0
        return self._stopped_at + self._grace - FINISH_RESERVE - self._clock()

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """What this block does should not be left half done: a stop gives it the grace period."""
        self._finishing = True
        try:
            yield
        finally:
            self._finishing = False

    def check(self) -> None:
        """Raises Stopped if the build must not go on."""
        if self.why is not None and self.left <= 0:
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Sleep, but raise Stopped as soon as the token is cancelled.

        What is being finished wakes up at the stop, and sleeps shortly from then on.
        """
        self.check()
        if self.why is not None:
            time.sleep(min(seconds, _TICK))
        else:
            self._event.wait(max(0.0, min(seconds, self.left)))
        self.check()
