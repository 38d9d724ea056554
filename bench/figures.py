"""What a benchmark found: medians, and ratios to what was measured in the same run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

OUT = Path(__file__).parent / "out"
"""Where results go; not part of the repository."""


@dataclass(frozen=True)
class Series:
    """Seconds (or another unit) of one thing, measured several times."""

    name: str
    values: Sequence[float]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


@dataclass(frozen=True)
class Figure:
    """One line of the result. `ratio`: of `compared_value` to `value`, or the other way round, as
    the name says; `holds`: whether the target is met, None without a target.
    """

    name: str
    value: float
    unit: str
    n: int
    min: float | None = None
    max: float | None = None
    compared_with: str | None = None
    compared_value: float | None = None
    ratio: float | None = None
    target: str | None = None
    holds: bool | None = None


def plain(series: Series, unit: str = "s", compared: Series | None = None) -> Figure:
    """A median; with what it is compared to, `ratio` says how many times as much it is."""
    return Figure(
        name=series.name,
        value=round(series.median, 3),
        unit=unit,
        n=series.n,
        min=round(series.low, 3),
        max=round(series.high, 3),
        compared_with=compared.name if compared else None,
        compared_value=round(compared.median, 3) if compared else None,
        ratio=round(series.median / compared.median, 2) if compared else None,
    )


def at_most(name: str, series: Series, base: Series, limit: float) -> Figure:
    """How much more than `base` it takes, which shall be `limit` seconds at most."""
    more = series.median - base.median
    return Figure(
        name=name,
        value=round(more, 3),
        unit="s",
        n=min(series.n, base.n),
        compared_with=base.name,
        compared_value=round(base.median, 3),
        ratio=round(series.median / base.median, 2),
        target=f"<= {limit:g} s",
        holds=more <= limit,
    )


def times_faster(name: str, series: Series, base: Series, least: float) -> Figure:
    """How many times faster than `base` it is, which shall be `least` times."""
    ratio = base.median / series.median
    return Figure(
        name=name,
        value=round(series.median, 3),
        unit="s",
        n=min(series.n, base.n),
        compared_with=base.name,
        compared_value=round(base.median, 3),
        ratio=round(ratio, 2),
        target=f">= {least:g} times faster",
        holds=ratio >= least,
    )


def table(figures: Iterable[Figure]) -> str:
    """For people."""
    lines = [f"{'':44} {'n':>3} {'median':>8} {'min':>7} {'max':>7}  ratio"]
    for each in figures:
        row = f"{each.name:44} {each.n:>3} {each.value:>8.2f}"
        row += "".join(
            f" {'' if edge is None else format(edge, '.2f'):>7}" for edge in (each.min, each.max)
        )
        if each.ratio is not None:
            row += f"  {each.ratio:.2f} ({each.compared_with} {each.compared_value:.2f})"
        if each.target is not None:
            row += f"; target {each.target}: {'holds' if each.holds else 'DOES NOT HOLD'}"
        lines.append(row)
    return "\n".join(lines)


def write(name: str, figures: Iterable[Figure], folder: Path = OUT) -> Path:
    """As a JSON list, one object for each figure; the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps([asdict(each) for each in figures], indent=2) + "\n")
    return path
