"""Which master to ask next, and how long to wait before that. No I/O."""

from __future__ import annotations

import random
from collections.abc import Sequence
from urllib.parse import urlsplit

from builder_framework.addresses import Address

FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 15.0
# Of the limit; little enough that a master that says 503 gets ten SUBSCRIBEs in its first minute.
_JITTER = 0.25
# One hint is normal, two happen while leaders change; more is a circle.
_REDIRECTS = 3


def redirection(location: str | None) -> Address | None:
    """The leader that a 307 names (`//host:port/path`, or a whole URL); None when it names none."""
    try:
        url = urlsplit(location or "")
        if url.hostname is None:
            return None
        return Address(url.hostname, url.port or 5050)
    except ValueError:
        return None


class Masters:
    """Decides whom to ask: the leader we were told of, otherwise each known address in turn."""

    def __init__(self, addresses: Sequence[Address] = ()) -> None:
        self._known = list(addresses)
        self._turn = 0
        self._hint: Address | None = None
        self._redirects = 0

    def next(self) -> Address | None:
        """None as long as no master is known."""
        if self._hint is not None:
            return self._hint
        known = self._known
        return known[self._turn % len(known)] if known else None

    def leads(self, address: Address | None) -> None:
        """ZooKeeper (or somebody else who knows) says who leads; None: nobody does."""
        self._known, self._turn = [address] if address is not None else [], 0
        self._hint, self._redirects = None, 0

    def redirected(self, to: Address | None) -> bool:
        """A master names another as leader; True when that one is to be asked at once."""
        circle = to is None or to == self.next() or self._redirects >= _REDIRECTS
        if circle:
            self.failed()
            return False
        self._hint = to
        self._redirects += 1
        return True

    def failed(self) -> None:
        """The one from `next` could not help: it is the next one's turn."""
        if self._hint is None:
            self._turn += 1
        self._hint, self._redirects = None, 0

    def subscribed(self) -> None:
        """It led. When that ends it is asked again first: a restart is the usual reason."""
        self._redirects = 0


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row; jitter keeps frameworks out of step."""
    limit = min(FIRST_BACKOFF * 2.0 ** min(failures - 1, 10), LONGEST_BACKOFF)
    return random.uniform(limit * (1 - _JITTER), limit)  # noqa: S311
