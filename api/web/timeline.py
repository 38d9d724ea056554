"""A build's time as spans, one after the other. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from builder_framework.domain.model import Attempt, Build
from builder_framework.protocol import Phase

_NO_PHASES = ("engine", "total")
"""Names in `Result.timings` of what lies within phases."""

_PHASES = frozenset(phase.value.lower() for phase in Phase)


@dataclass(frozen=True)
class Span:
    """`kind` names a style; times in seconds since the epoch, `end` is None while it lasts.

    `left` and `width`: where it is drawn, in thousandths of the whole.
    """

    kind: str
    name: str
    begin: float
    end: float | None
    left: float = 0.0
    width: float = 0.0

    def seconds(self, now: float) -> float:
        """How long it has taken up to `now`."""
        return max(0.0, (now if self.end is None else self.end) - self.begin)


def spans(build: Build, now: float) -> tuple[Span, ...]:
    """From the acceptance to the end, or to `now`."""
    found = [span for span in _spans(build) if span.end is None or span.end > span.begin]
    end = now if build.ended_at is None else build.ended_at
    whole = max(end - build.created_at, 1e-3)
    placed = []
    for span in found:
        left = min(max(0.0, span.begin - build.created_at) / whole, 1.0) * 1000
        width = min(span.seconds(end) / whole * 1000, 1000 - left)
        placed.append(Span(span.kind, span.name, span.begin, span.end, left, width))
    return tuple(placed)


def _spans(build: Build) -> Iterator[Span]:
    since = build.created_at
    for attempt in build.attempts:
        again = "waiting again" if attempt.number > 1 else "waiting"
        yield Span("waiting", again, since, attempt.placed_at)
        last = attempt is build.attempts[-1]
        end = attempt.ended_at if attempt.ended_at is not None or not last else build.ended_at
        yield Span("placed", "task starts", attempt.placed_at, attempt.running_at or end)
        if attempt.running_at is not None:
            yield from _running(build, attempt, attempt.running_at, end, last=last)
        since = end if end is not None else build.state_since
    current = build.current
    if current is None or (not current.live and not build.terminal):
        name = "waiting again" if build.attempts else "waiting"
        yield Span("waiting", name, since, build.ended_at)


def _running(
    build: Build, attempt: Attempt, begin: float, end: float | None, *, last: bool
) -> Iterator[Span]:
    """Its phases as far as they are known: their lengths are told at the end."""
    phases = [item for item in build.result.timings.items() if item[0] not in _NO_PHASES]
    if not last:
        yield Span("failed", f"attempt {attempt.number}", begin, end)
    elif not phases or end is None:
        name = build.phase.value.lower() if build.phase and end is None else "running"
        yield Span(name, name, begin, end)
    else:
        for name, seconds in phases:
            stop = min(begin + seconds, end)
            yield Span(name if name in _PHASES else "running", name, begin, stop)
            begin = stop
        yield Span("ending", "ending", begin, end)
