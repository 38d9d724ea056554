"""Whether builds are started: what operators say with pause, drain and resume. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Mode(str, enum.Enum):
    """PAUSED and DRAINING both start nothing. DRAINING waits for what runs, and says when it is
    over.
    """

    RUNNING = "running"
    PAUSED = "paused"
    DRAINING = "draining"


DRAINED = "drained"
"""State of DRAINING when nothing runs any more."""


@dataclass(frozen=True)
class Scheduling:
    """`by` said so at `since` (seconds since the epoch); both None when nobody ever did."""

    mode: Mode = Mode.RUNNING
    by: str | None = None
    since: float | None = None

    @property
    def starts(self) -> bool:
        """Whether builds are started."""
        return self.mode is Mode.RUNNING

    def state(self, on_agents: int) -> str:
        """For programs. `on_agents`: how many builds may have a task."""
        if self.mode is Mode.DRAINING and on_agents == 0:
            return DRAINED
        return self.mode.value

    def sentence(self) -> str:
        """For people whose builds wait for it."""
        verb = "paused" if self.mode is Mode.PAUSED else "drained"
        return f"no builds are started: {self.by or 'somebody'} has {verb} the framework"

    def turned(self, mode: Mode, by: str, now: float) -> Scheduling:
        """After somebody said so; the same when it was so already."""
        return self if mode is self.mode else Scheduling(mode, by, now)
