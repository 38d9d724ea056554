"""Whose turn it is: builds of one executor share an engine, and in it the names of images."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from executor.cancel import CancelToken

_TICK = 0.1
"""Seconds after which those who wait look whether they were stopped."""


class Turns:
    """Lets one thread at a time have a name."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken: set[str] = set()

    @contextlib.contextmanager
    def take(self, name: str, token: CancelToken) -> Iterator[None]:
        """Within the block the name is ours. Raises Stopped while it waits for that."""
        with self._changed:
            while name in self._taken:
                token.check()
                self._changed.wait(_TICK)
            self._taken.add(name)
        try:
            yield
        finally:
            with self._changed:
                self._taken.discard(name)
                self._changed.notify_all()


TURNS = Turns()
"""Of this process."""
