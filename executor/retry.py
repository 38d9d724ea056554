"""Trying again what the surroundings failed: with back-off and jitter, said in the build's log."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from executor.cancel import CancelToken
from executor.failure import SURROUNDINGS, BuildFailure

T = TypeVar("T")

LONGEST_RETRY_AFTER = 300.0
"""Seconds; a server that wants to be left alone for longer is asked again all the same."""


@dataclass(frozen=True)
class Backoff:
    """Seconds between tries: doubled from `first` to `longest`, each with up to half taken off."""

    first: float = 1.0
    longest: float = 60.0
    draw: Callable[[float, float], float] = random.uniform

    def seconds(self, failures: int) -> float:
        """The wait after so many failures in a row (≥ 1)."""
        full = min(self.longest, self.first * 2.0 ** min(failures - 1, 16))
        return self.draw(full / 2, full)


@dataclass(frozen=True)
class Retries:
    """How a build repeats what failed for now.

    A step is tried `tries` times at most, and not again once `patience` seconds have passed since
    it failed first. The token ends every wait.
    """

    token: CancelToken
    say: Callable[[str], None]
    backoff: Backoff = field(default_factory=Backoff)
    tries: int | None = None
    patience: float = float("inf")
    clock: Callable[[], float] = time.monotonic

    def run(self, work: Callable[[], T]) -> T:
        """What `work` returns in the end. Raises its last BuildFailure, or Stopped."""
        failures = 0
        since: float | None = None
        while True:
            try:
                return work()
            except BuildFailure as failure:
                failures += 1
                now = self.clock()
                since = now if since is None else since
                wait = self._wait(failure, failures)
                patience = min(self.patience, failure.patience)
                # What this machine fails at is for another one.
                here = failure.transient and failure.reason not in SURROUNDINGS
                if not here or failures == self.tries or now + wait - since > patience:
                    raise
                self.say(f"{failure.message}\nTrying again in {wait:.1f} s (failures: {failures})")
            self.token.wait(wait)

    def _wait(self, failure: BuildFailure, failures: int) -> float:
        asked = min(failure.retry_after, LONGEST_RETRY_AFTER)
        # No earlier than the server asked, and not everybody at that very moment.
        return max(self.backoff.seconds(failures), asked * self.backoff.draw(1.0, 1.1))
