"""Slows down who guesses passwords. Pure but for its memory; each process has its own."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

FREE = 5
"""Failures of one name from one address that cost nothing: people mistype."""

FREE_OF_ADDRESS = 50
"""Of one address with whatever names; many people may share it (a proxy)."""

FIRST = 1.0
"""Seconds to wait after one failure too many; each further one doubles it."""

MOST = 60.0
"""Seconds; more would lock out whom somebody wants to be locked out."""

FORGOTTEN = 900.0
"""Seconds after which a failure does not count any more."""

MAX_KEPT = 10_000
"""Names and addresses; beyond, the longest unheard of are forgotten."""

Key = tuple[str, ...]


@dataclass
class _Failures:
    count: int = 0
    last: float = 0.0


class Brake:
    """Counts failed logins by address, and by address and name."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: seconds, never going back."""
        self._clock = clock
        self._kept: OrderedDict[Key, _Failures] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, address: str, name: str) -> float:
        """Seconds until the next try; 0 for now."""
        now = self._clock()
        with self._lock:
            left = [self._until(key, free) - now for key, free in _keys(address, name)]
        return max(0.0, *left)

    def failed(self, address: str, name: str) -> None:
        """One more wrong password."""
        now = self._clock()
        with self._lock:
            for key, _ in _keys(address, name):
                found = self._kept.setdefault(key, _Failures())
                if now - found.last > FORGOTTEN:
                    found.count = 0
                found.count += 1
                found.last = now
                self._kept.move_to_end(key)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)

    def succeeded(self, address: str, name: str) -> None:
        """That name is the address' own."""
        with self._lock:
            self._kept.pop((address, name), None)

    def _until(self, key: Key, free: int) -> float:
        found = self._kept.get(key)
        if found is None or found.count <= free:
            return 0.0
        return found.last + min(FIRST * 2.0 ** min(found.count - free - 1, 10), MOST)


def _keys(address: str, name: str) -> tuple[tuple[Key, int], ...]:
    return ((address, name), FREE), ((address,), FREE_OF_ADDRESS)
