"""Progress lines with the time since the start, so that a long wait explains itself."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[str], None]


def silent(_text: str) -> None:
    """The progress of a caller that does not want any."""


class Stopwatch:
    """A `Progress` that prints each line with the seconds since it was made."""

    def __init__(self, write: Progress = print) -> None:
        self._write = write
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def __call__(self, text: str) -> None:
        self._write(f"[{self.seconds:6.1f}s] {text}")
