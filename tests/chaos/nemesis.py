"""What goes wrong, and when: a schedule that follows from the seed, and who carries it out."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.faults import Fault

_LONGEST_CALM = 4.0
_SHORTEST_HOLD = 0.3


@dataclass(frozen=True)
class Planned:
    """A fault after `calm` seconds of peace, for `share` of the longest time it may last."""

    fault: str
    calm: float
    share: float
    seed: int


@dataclass(frozen=True)
class Happened:
    """A fault that was there from `begin` to `end` (seconds since the epoch)."""

    fault: str
    whom: str
    begin: float
    end: float


def schedule(seed: int, kills: int, names: Sequence[str]) -> list[Planned]:
    """`kills` faults, every one of `names` as often as the others, give or take one."""
    rng = random.Random(seed)  # noqa: S311 (replayed, not secret)
    drawn: list[str] = []
    while len(drawn) < kills:
        drawn += rng.sample(list(names), len(names))
    return [
        Planned(name, rng.uniform(0, _LONGEST_CALM), rng.random(), rng.randrange(1 << 32))
        for name in drawn[:kills]
    ]


def inflict(
    plan: Sequence[Planned],
    faults: Mapping[str, Fault],
    say: Callable[[str], None],
    done: Callable[[Happened], None],
) -> None:
    """Carry the plan out, one fault at a time; each is healed whatever happens."""
    for number, planned in enumerate(plan, start=1):
        time.sleep(planned.calm)
        fault = faults[planned.fault]
        hold = _SHORTEST_HOLD + planned.share * (fault.longest - _SHORTEST_HOLD)
        begin = time.time()
        try:
            whom = fault.inject(random.Random(planned.seed))  # noqa: S311
            say(f"{number}/{len(plan)} {fault.name} for {hold:.1f} s: {whom}")
            time.sleep(hold)
        finally:
            fault.heal()
        done(Happened(fault.name, whom, begin, time.time()))


def blamed(happened: Sequence[Happened], begin: float, end: float) -> list[str]:
    """The faults that were there while something was under way; the last may be the cause."""
    # What a fault does may show only after it: heartbeats are missed, updates are repeated.
    aftermath = 5.0
    return [h.fault for h in happened if h.begin <= end and h.end + aftermath >= begin]
