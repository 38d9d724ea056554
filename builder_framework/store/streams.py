"""Numbers that several lists have in common, the greatest first: a leapfrog join. Pure.

Each list is read in pieces, and only where the others have something, so that a page costs what is
on it and not what there is. What they have in common may still be rare, or nothing: what is read
for one page is limited, and whoever wants more goes on where it ended.

Veldhuizen, "Leapfrog Triejoin: A Simple, Worst-Case Optimal Join Algorithm" (ICDT 2014), 3.1.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from operator import neg

Fetch = Callable[[int, int], tuple[Sequence[int], bool]]
"""(below, limit) -> the greatest numbers below, in falling order, and whether these were the last.

At least `limit` of them unless they are the last.
"""

BEGIN = 2**62
"""Greater than all numbers."""

PIECES = (16, 128, 512)
"""Numbers of a piece: after a leap, at the beginning, and of a list that is read through."""

SEEK = 64
"""What finding a piece costs, in numbers of it."""


class SpentError(Exception):
    """A page has had its numbers."""


class Budget:
    """How many numbers a page may have read, a piece costing SEEK besides."""

    def __init__(self, numbers: int) -> None:
        self.left = numbers

    def spend(self, numbers: int, *, first: bool = False) -> None:
        """Raises SpentError, but never for the `first` piece of a list: each page gets on."""
        if self.left <= 0 and not first:
            raise SpentError
        self.left -= numbers + SEEK


class Stream:
    """One list, read from the greatest number on."""

    def __init__(
        self, fetch: Fetch, budget: Budget, parts: int = 1, longest: int = PIECES[2]
    ) -> None:
        """`parts`: how many times the limit a piece may have; `longest`: the highest limit."""
        self._fetch = fetch
        self._budget = budget
        self._parts = parts
        self._longest = longest
        self._first = True
        self._piece: Sequence[int] = ()
        self._at = 0
        self._last = False
        self._limit = min(PIECES[1], longest)

    def at_most(self, number: int) -> int | None:
        """The greatest one up to `number`, which falls from call to call. Raises SpentError."""
        while True:
            before = self._at
            self._at = bisect_left(self._piece, -number, lo=self._at, key=neg)
            if self._at < len(self._piece):
                return self._piece[self._at]
            if self._last:
                return None
            self._budget.spend(self._limit * self._parts, first=self._first)
            self._first = False
            self._piece, self._last = self._fetch(number + 1, self._limit)
            # Who leaps over the most of a piece will leap again.
            leapt = before * 2 < self._at
            self._limit = PIECES[0] if leapt else min(self._longest, self._limit * 4)
            self._at = 0


def meet(streams: Sequence[Stream], below: int, want: int) -> tuple[list[int], int | None]:
    """Up to `want` numbers below `below` that all have, and below what to go on; None: no more."""
    found: list[int] = []
    number = below - 1
    try:
        while len(found) < want:
            met = _meet_at(streams, number)
            if met is None:
                return found, None
            found.append(met)
            number = met - 1
    except _PausedError as pause:
        number = pause.number
    return found, number + 1


class _PausedError(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _meet_at(streams: Sequence[Stream], number: int) -> int | None:
    """The greatest number up to `number` that all have. Raises _PausedError."""
    agreed, turn = 0, 0
    try:
        while agreed < len(streams):
            found = streams[turn].at_most(number)
            if found is None:
                return None
            agreed = agreed + 1 if found == number else 1
            number = found
            turn = (turn + 1) % len(streams)
    except SpentError:
        raise _PausedError(number) from None
    return number
