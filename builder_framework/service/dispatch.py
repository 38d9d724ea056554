"""Carries out calls to the master, one after the other, off the serial loop.

In order, so that a reconciliation never overtakes the launch it asks about. A call that fails is
never repeated here: timers, reconciliation and Mesos' own retries bring it up again.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from builder_framework.errors import BuilderError, NotSubscribedError

log = logging.getLogger(__name__)


class Dispatcher:
    """A queue of calls and the one thread that makes them."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], None], Callable[[], None] | None] | None]
        self._calls = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Begin to make calls."""
        self._thread.start()

    def stop(self) -> None:
        """Make no further calls."""
        self._calls.put(None)
        self._thread.join(timeout=15)

    @property
    def alive(self) -> bool:
        """Whether calls are being made."""
        return self._thread.is_alive()

    def call(self, make: Callable[[], None], not_sent: Callable[[], None] | None = None) -> None:
        """Queue a call; `not_sent` is run when it certainly did not leave this process."""
        self._calls.put((make, not_sent))

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            make, not_sent = item
            try:
                make()
            except NotSubscribedError as error:
                log.info("%s", error)
                if not_sent is not None:
                    not_sent()
            except BuilderError as error:
                log.warning("%s", error)
            except Exception:
                log.exception("a call to the master failed unexpectedly")
