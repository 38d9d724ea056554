"""Builds that somebody has to follow: without him nobody would ever look at what comes of them.

A step of a pipeline that is killed cannot cancel its build any more. Who follows is not stored:
after a restart of the leader everybody has his time again to come back.
"""

from __future__ import annotations

from builder_framework.domain import events as ev
from builder_framework.service.batch import Batch

EVERY = 1.0
"""Seconds between two looks at all builds."""


class Attendance:
    """Belongs to the loop's thread."""

    def __init__(self, began: float) -> None:
        """`began`: since when anybody could be seen, in seconds since the epoch."""
        self._began = began
        self._looked_at = began
        self._seen: dict[str, float] = {}

    def seen(self, build_id: str, now: float) -> None:
        """Somebody follows it."""
        self._seen[build_id] = now

    def end_forsaken(self, batch: Batch) -> None:
        """Cancel what nobody has followed for as long as its request says."""
        if batch.now - self._looked_at < EVERY:
            return
        self._looked_at = batch.now
        attended = list(batch.attended())
        seen = {
            build.id: self._seen.get(build.id, max(self._began, build.created_at))
            for build in attended
        }
        for build in attended:
            patience = build.request.attended or 0.0
            if build.stop is None and batch.now - seen[build.id] > patience:
                batch.step(build.id, ev.CancelRequested("", unattended=patience))
        self._seen = seen
