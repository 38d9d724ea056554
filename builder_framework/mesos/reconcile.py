"""What to ask the master about, and when next. Pure: the caller has the clock and the driver.

Explicit, with back-off, after each subscription until every task in question was heard of
(agents may take minutes to re-register); all tasks, known or not, every quarter of an hour
(Mesos' reconciliation guide).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

_FIRST_WAIT = 1.0
_LONGEST_WAIT = 60.0
PERIOD = 900.0


@dataclass
class Reconciliation:
    """`open`: task id -> agent id of tasks the master has not answered for."""

    open: dict[str, str] = field(default_factory=dict)
    _wait: float = _FIRST_WAIT
    _explicit_at: float | None = None
    _implicit_at: float | None = None

    def begin(self, tasks: Iterable[tuple[str, str]], now: float) -> None:
        """A subscription was accepted: every task that is not over is in question."""
        self.open = dict(tasks)
        self._wait = _FIRST_WAIT
        self._explicit_at = now
        self._implicit_at = now

    def ask(self, tasks: Iterable[tuple[str, str]], now: float) -> None:
        """Nobody knows whether these tasks were launched. Soon, not at once: they may still be."""
        self.open.update(tasks)
        self._wait = _FIRST_WAIT
        self._explicit_at = now + _FIRST_WAIT

    def end(self) -> None:
        """The subscription is gone; nothing can be asked."""
        self.open = {}
        self._explicit_at = None
        self._implicit_at = None

    def heard_of(self, task_id: str) -> None:
        """Any status of a task answers the question."""
        self.open.pop(task_id, None)

    def due(self, now: float) -> list[list[tuple[str, str]]]:
        """The calls to make now: each a list of (task id, agent id), empty for "all tasks"."""
        calls: list[list[tuple[str, str]]] = []
        if self._explicit_at is not None and now >= self._explicit_at:
            if self.open:
                calls.append(sorted(self.open.items()))
                self._explicit_at = now + self._wait
                self._wait = min(self._wait * 2, _LONGEST_WAIT)
            else:
                self._explicit_at = None
        if self._implicit_at is not None and now >= self._implicit_at:
            calls.append([])
            self._implicit_at = now + PERIOD
        return calls
