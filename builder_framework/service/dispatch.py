"""Carries out calls to the master, one after the other, off the serial loop.

In order, so that a reconciliation never overtakes the launch it asks about. A call that fails is
not repeated here: whoever made it says what follows, or timers and Mesos' own retries bring it up
again.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from builder_framework.errors import BuilderError, NotSubscribedError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """`not_sent` runs when it certainly did not leave us, `unsure` when nobody knows."""

    make: Callable[[], None]
    not_sent: Callable[[], None] | None = None
    unsure: Callable[[], None] | None = None


class Dispatcher:
    """A queue of calls and the one thread that makes them."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
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

    def call(
        self,
        make: Callable[[], None],
        *,
        not_sent: Callable[[], None] | None = None,
        unsure: Callable[[], None] | None = None,
    ) -> None:
        """Queue a call; see `Call`."""
        self._calls.put(Call(make, not_sent, unsure))

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            then: Callable[[], None] | None = None
            try:
                call.make()
            except NotSubscribedError as error:
                log.info("%s", error)
                then = call.not_sent
            except BuilderError as error:
                log.warning("%s", error)
                then = call.unsure
            except Exception:
                log.exception("a call to the master failed unexpectedly")
                then = call.unsure
            if then is not None:
                then()
