"""A build's progress in one line: phase, time, last line of the log. Pure but for its clock."""

from __future__ import annotations

import time
from collections.abc import Callable

from builder_framework import answers
from builder_framework.cli.terminal import Neutraliser


def duration(seconds: float) -> str:
    """`7 s`, `1 m 07 s`, `2 h 03 m`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} m"


class Progress:
    """One build. `clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._cleaner = Neutraliser()
        self._began = self._since = clock()
        self._what = ""
        self._more = ""
        self._last = ""
        self._rest = ""

    def tell(self, state: answers.StateEvent) -> str | None:
        """Take in a change; the step that is over by it, with its time."""
        what = state["phase"] if state["state"] == "RUNNING" and state["phase"] else state["state"]
        self._more = _more(state)
        if what == self._what:
            return None
        now = self._clock()
        over = f"{self._what} {duration(now - self._since)}" if self._what else None
        self._what, self._since, self._last = what, now, ""
        return over

    def write(self, text: str) -> None:
        """Take in a piece of the log."""
        lines = (self._rest + self._cleaner.feed(text)).split("\n")
        self._rest = lines.pop()
        for line in (*lines, self._rest):
            if line.strip():
                self._last = " ".join(line.split())

    def line(self, width: int) -> str:
        """What is to be seen now, in at most `width` characters."""
        now = self._clock()
        head = f"{self._what or 'connecting'} {duration(now - self._since)}"
        if now - self._began > now - self._since:
            head += f" of {duration(now - self._began)}"
        tail = self._more or self._last
        return f"{head}  {tail}".rstrip()[:width]


def plain(state: answers.StateEvent) -> str:
    """A change as a line for a file: `RUNNING BUILDING`."""
    words = [state["state"], state["phase"] or "", _more(state)]
    return " ".join(word for word in words if word)


def _more(state: answers.StateEvent) -> str:
    place = f"position {state['position']}" if state["position"] else ""
    return ": ".join(word for word in (place, state["message"] or "") if word)
