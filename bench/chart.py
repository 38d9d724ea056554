"""Bars for medians, with a line from the lowest to the highest value, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from bench.figures import Series

_LEFT, _WIDTH, _ROW, _TOP = 330, 540, 30, 56
_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 {height}" '
    'font-family="Helvetica, Arial, sans-serif" font-size="14">'
)
_OURS, _OTHERS = "#3b6fb6", "#9aa3b5"


def chart(
    rows: Sequence[Series], title: str = "Seconds from the request to the pushed image"
) -> str:
    """One bar for each, on a scale with roots, so that short ones can be seen beside long ones."""
    most = max(each.high for each in rows)
    height = _TOP + _ROW * len(rows) + 40
    parts = [
        _HEAD.format(height=height),
        f'<rect width="960" height="{height}" fill="#fff"/>',
        f'<text x="20" y="30" font-weight="bold">{escape(title)}</text>',
    ]
    for mark in _marks(most):
        x = _x(mark, most)
        parts.append(
            f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{height - 34}" stroke="#dde"/>'
            f'<text x="{x:.1f}" y="{height - 18}" text-anchor="middle" font-size="12" '
            f'fill="#445">{mark:g}</text>'
        )
    for number, each in enumerate(rows):
        parts.append(_bar(each, _TOP + number * _ROW, most))
    return "\n".join([*parts, "</svg>", ""])


def _bar(series: Series, y: int, most: float) -> str:
    colour = _OURS if series.name.startswith("ours") else _OTHERS
    start, end = _x(0, most), _x(series.median, most)
    low, high = _x(series.low, most), _x(series.high, most)
    return (
        f'<text x="{_LEFT - 10}" y="{y + 15}" text-anchor="end">{escape(series.name)}</text>'
        f'<rect x="{start:.1f}" y="{y + 2}" width="{end - start:.1f}" height="18" fill="{colour}"/>'
        f'<line x1="{low:.1f}" y1="{y + 11}" x2="{high:.1f}" y2="{y + 11}" stroke="#223"/>'
        f'<text x="{high + 8:.1f}" y="{y + 15}" font-size="12" fill="#445">'
        f"{series.median:.1f}</text>"
    )


def _x(value: float, most: float) -> float:
    return _LEFT + _WIDTH * math.sqrt(value / most)


def _marks(most: float) -> list[float]:
    return [mark for mark in (0, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if mark <= most]
