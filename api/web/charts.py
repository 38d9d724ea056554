"""The geometry of two charts, which templates draw as SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from api.web import show
from builder_framework.domain.states import State

WIDTH, HEIGHT = 720.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 76.0, 8.0, 10.0, 26.0
"""Of the drawing, in its own units: what is left for axes."""

MOST_BUCKETS = 40

_WIDTHS = (3600, 6 * 3600, 86400, 7 * 86400, 28 * 86400)
"""Seconds of time that one bar may stand for."""

_ORDER = (State.SUCCEEDED, State.FAILED, State.CANCELLED)


@dataclass(frozen=True)
class Ended:
    """A build that is over. `seconds`: since its task ran; None if it never did."""

    at: float
    state: State
    seconds: float | None


@dataclass(frozen=True)
class Bucket:
    """Builds that ended from `begin` on, up to the next one. `seconds`: of those that succeeded."""

    begin: float
    label: str
    counts: tuple[tuple[State, int], ...]
    seconds: tuple[float, ...]

    @property
    def total(self) -> int:
        """How many ended."""
        return sum(count for _, count in self.counts)


@dataclass(frozen=True)
class Mark:
    """A rectangle. `kind` names a style, `title` is told on hovering."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Tick:
    """A label of an axis, and where it stands on that."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """All that is drawn. `lines`: by kind, the points of a polyline."""

    marks: tuple[Mark, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    lines: tuple[tuple[str, str], ...] = ()


def buckets(ended: Iterable[Ended]) -> tuple[Bucket, ...]:
    """By time, the oldest first, those without a build among them."""
    known = sorted(ended, key=lambda each: each.at)
    if not known:
        return ()
    first, last = known[0].at, known[-1].at
    width = float(next((w for w in _WIDTHS if (last - first) / w < MOST_BUCKETS - 1), _WIDTHS[-1]))
    start = math.floor(first / width) * width
    if (last - start) / width >= MOST_BUCKETS:
        start = math.floor(last / width - MOST_BUCKETS + 1) * width
    count = int((last - start) // width) + 1
    held: list[list[Ended]] = [[] for _ in range(count)]
    for each in known:
        if each.at >= start:
            held[int((each.at - start) // width)].append(each)
    return tuple(_bucket(start + n * width, width, some) for n, some in enumerate(held))


def outcomes(found: Sequence[Bucket]) -> Chart:
    """Builds that ended, by outcome, one bar upon the other."""
    top = _nice(max((bucket.total for bucket in found), default=0))
    marks = []
    for number, bucket in enumerate(found):
        x, width = _place(number, len(found))
        below = 0
        for state, count in bucket.counts:
            if count:
                y = _height(below + count, top)
                title = f"{bucket.label}: {count} {state.value.lower()}"
                height = _height(below, top) - y
                marks.append(Mark(state.value.lower(), x, y, width, height, title))
            below += count
    return Chart(
        tuple(marks),
        _across(found),
        _up(top, lambda value: f"{value:g}" if value.is_integer() else ""),
    )


def durations(found: Sequence[Bucket]) -> Chart:
    """How long builds took that succeeded: the median, and what nine of ten stayed below."""
    ninths = [percentile(bucket.seconds, 0.9) for bucket in found]
    top = _nice(max((value for value in ninths if value is not None), default=0.0))
    marks, points = [], []
    for number, (bucket, ninth) in enumerate(zip(found, ninths, strict=True)):
        middle = percentile(bucket.seconds, 0.5)
        if middle is None or ninth is None:
            continue
        x, width = _place(number, len(found))
        title = (
            f"{bucket.label}: median {show.duration(middle)}, "
            f"90 % below {show.duration(ninth)}, {len(bucket.seconds)} builds"
        )
        y = _height(ninth, top)
        marks.append(Mark("ninth", x, y, width, HEIGHT - BOTTOM - y, title))
        y = _height(middle, top)
        marks.append(Mark("median", x, y, width, HEIGHT - BOTTOM - y, title))
        points.append(f"{x + width / 2:.1f},{y:.1f}")
    lines = (("median", " ".join(points)),) if len(points) > 1 else ()
    return Chart(tuple(marks), _across(found), _up(top, show.duration), lines)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that `share` of them do not exceed (nearest rank); None without any."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _bucket(begin: float, width: float, held: Sequence[Ended]) -> Bucket:
    counts = tuple((state, sum(each.state is state for each in held)) for state in _ORDER)
    seconds = tuple(
        each.seconds for each in held if each.state is State.SUCCEEDED and each.seconds is not None
    )
    form = "%m-%d %H:%M" if width < 86400 else "%Y-%m-%d"
    label = datetime.fromtimestamp(begin, timezone.utc).strftime(form)
    return Bucket(begin, label, counts, seconds)


def _nice(most: float) -> float:
    """The next of 1, 2, 5, 10, … that is not below."""
    if most <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= most)


def _place(number: int, count: int) -> tuple[float, float]:
    """Left edge and width of a bar."""
    room = (WIDTH - LEFT - RIGHT) / count
    width = min(room * 0.8, 36.0)
    return LEFT + number * room + (room - width) / 2, width


def _height(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value / top, 1.0)


def _across(found: Sequence[Bucket]) -> tuple[Tick, ...]:
    step = max(1, math.ceil(len(found) / 6))
    ticks = []
    for number in range(0, len(found), step):
        x, width = _place(number, len(found))
        ticks.append(Tick(x + width / 2, found[number].label))
    return tuple(ticks)


def _up(top: float, text: Callable[[float], str]) -> tuple[Tick, ...]:
    values = (0.0, top / 2, top) if top > 1 else (0.0, top)
    return tuple(Tick(_height(value, top), text(value)) for value in values)
