"""The framework's leave to publish: asked for by a message, good for seconds (docs/adr/0009)."""

from __future__ import annotations

import http.client
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from builder_framework.protocol import LeaseAnswer, LeaseRequest, encode_lease
from executor.cancel import CancelToken
from executor.connection import Refused

logger = logging.getLogger(__name__)

ASK_EVERY = 2.0
"""Seconds between questions: a framework message may get lost on either way."""

SAY_AFTER = 5.0
"""Seconds without an answer after which the build's log says what it waits for."""

REMEMBERED = 64
"""Questions whose answer still counts. A later answer would not leave much of a lease."""


def boottime() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeaseRefused(Exception):  # noqa: N818  (an answer, not a defect)
    """The framework wants this attempt to publish nothing (more)."""


@dataclass(frozen=True)
class Lease:
    """Leave to publish: granted for `seconds`, over at `until` on `clock`."""

    until: float
    seconds: float
    clock: Callable[[], float] = boottime

    @property
    def left(self) -> float:
        """Seconds; not positive once it is over."""
        return self.until - self.clock()

    def enough(self, seconds: float) -> bool:
        """Whether so much is left, or half of it where the framework never grants so much."""
        return self.left >= min(seconds, self.seconds / 2) and self.left > 0


class LeaseDesk:
    """One task's way to ask. `answer` is called from the driver's thread, the rest by the build.

    Every question has a nonce of its own, and a lease is counted from the question it answers: so
    it ends here before it ends in the framework, however long an answer took.
    """

    def __init__(
        self,
        task_id: str,
        send: Callable[[bytes], None],
        *,
        every: float = ASK_EVERY,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._task_id = task_id
        self._send = send
        self._every = every
        self._clock = clock
        self._changed = threading.Condition()
        self._asked: deque[tuple[str, float]] = deque(maxlen=REMEMBERED)
        self._lease = Lease(float("-inf"), 0.0, clock)
        self._refusal: str | None = None

    @property
    def lease(self) -> Lease:
        """The one that holds longest; at first one that is over."""
        return self._lease

    def answer(self, answer: LeaseAnswer) -> None:
        """Take an answer in, unless it belongs to no question of this task."""
        with self._changed:
            asked = dict(self._asked).get(answer.nonce)
            if asked is None:
                logger.warning("an answer to no question about %s", self._task_id)
                return
            if answer.granted:
                new = Lease(asked + answer.seconds, answer.seconds, self._clock)
                self._lease = max(self._lease, new, key=lambda lease: lease.until)
            else:
                self._refusal = answer.message or "no reason given"
            self._changed.notify_all()

    def acquire(
        self,
        digest: str,
        replaces: str | None,
        at_least: float,
        token: CancelToken,
        say: Callable[[str], None],
    ) -> Lease:
        """A lease with `at_least` seconds left: the present one, or it asks until it has one.

        Raises LeaseRefused, Stopped.
        """
        began = self._clock()
        said = False
        while not self._settled(at_least):
            self._ask(digest, replaces)
            until = self._clock() + self._every
            while (left := until - self._clock()) > 0 and not self._settled(at_least):
                token.check()
                with self._changed:
                    self._changed.wait(min(0.1, left))
            if not said and self._clock() - began >= SAY_AFTER:
                said = True
                say("Waiting for the framework's leave to publish")
        return self._lease

    def _settled(self, at_least: float) -> bool:
        with self._changed:
            if self._refusal is not None:
                raise LeaseRefused(self._refusal)
            return self._lease.enough(at_least)

    def _ask(self, digest: str, replaces: str | None) -> None:
        nonce = uuid.uuid4().hex
        with self._changed:
            self._asked.append((nonce, self._clock()))
        request = LeaseRequest(self._task_id, nonce, digest, replaces)
        try:
            self._send(encode_lease(request))
        except (OSError, http.client.HTTPException, Refused) as error:
            logger.info(
                "the question for a lease was not taken: %s", str(error) or type(error).__name__
            )
