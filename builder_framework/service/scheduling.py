"""The switch that pause, drain and resume turn: asked by the loop each turn, turned by the API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from builder_framework.domain.scheduling import Mode, Scheduling
from builder_framework.errors import StoreUnavailableError
from builder_framework.service.outage import OutageLog

FRESH = 1.0
"""Seconds for which the database is not asked again: another process may have turned it."""


class Kept(Protocol):
    """See `store.scheduling.SqlScheduling`."""

    def read(self) -> Scheduling: ...

    def turn(self, mode: Mode, by: str, now: float) -> Scheduling: ...

    def on_agents(self) -> int: ...


class Switch:
    """`ports.Scheduler`. While the database is away, what it said last holds for the loop."""

    def __init__(
        self,
        kept: Kept,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: seconds since the epoch. Reads the store. Raises StoreUnavailableError."""
        self._kept = kept
        self._clock = clock
        self._monotonic = monotonic
        self._outage = OutageLog("whether builds are started")
        self._known = kept.read()
        self._read_at = monotonic()
        self._turns = 0

    def current(self) -> Scheduling:
        """For the loop: never older than a second while the database answers. Never raises."""
        now = self._monotonic()
        if now - self._read_at >= FRESH:
            self._read_at, turns = now, self._turns
            try:
                found = self._kept.read()
                if turns == self._turns:  # what was said while we read is newer
                    self._known = found
                self._outage.over()
            except StoreUnavailableError as error:
                self._outage.met(error)
        return self._known

    def look(self) -> Scheduling:
        """See `ports.Scheduler`."""
        return self._kept.read()

    def turn(self, mode: Mode, by: str) -> Scheduling:
        """See `ports.Scheduler`."""
        said = self._kept.turn(mode, by, self._clock())
        self._known, self._turns = said, self._turns + 1
        return self._known

    def on_agents(self) -> int:
        """See `ports.Scheduler`."""
        return self._kept.on_agents()
