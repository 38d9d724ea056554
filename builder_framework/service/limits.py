"""How many builds of each project may run at once, as the database has it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from builder_framework.domain.projects import Catalog
from builder_framework.errors import StoreUnavailableError

log = logging.getLogger(__name__)

FRESH = 1.0
"""Seconds for which it is not asked again; each turn of the loop wants to know."""


class RunningLimits:
    """Belongs to the loop's thread. While the database is away, what it said last holds."""

    def __init__(self, catalog: Callable[[], Catalog], clock: Callable[[], float]) -> None:
        """`clock`: seconds, never going back."""
        self._catalog = catalog
        self._clock = clock
        self._read_at: float | None = None
        self._limits: Mapping[str, int] = {}

    def __call__(self) -> Mapping[str, int]:
        """By project; those without a limit are not in it."""
        now = self._clock()
        if self._read_at is None or now - self._read_at >= FRESH:
            self._read_at = now
            try:
                self._limits = {
                    project.name: project.quota.max_running
                    for project in self._catalog()
                    if project.quota.max_running is not None
                }
            except StoreUnavailableError as error:
                log.warning("limits of projects stay as they were: %s", error)
        return self._limits
