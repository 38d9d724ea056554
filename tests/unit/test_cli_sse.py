"""The event stream parser follows the standard, however the bytes arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.client.sse import MAX_LINE_BYTES, ServerEvent, parse_events

STREAM = (
    "\ufeff: comment\nretry: 2000\n\nevent: log\nid: 5\ndata: a\ndata:b\n\n"
    "data: plain\r\rid: 7\r\nevent: end\r\ndata\r\n\r\nid: x\0y\ndata: z\n\nevent: lost\n\n"
    "data: cut off"
).encode()
EVENTS = [
    ServerEvent("log", "a\nb", "5"),
    ServerEvent("message", "plain", "5"),
    ServerEvent("end", "", "7"),
    ServerEvent("message", "z", "7"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_any_cut_gives_the_same_events(cuts: list[int]) -> None:
    """CR, LF and CR LF end a line; an event that the end cuts off does not count."""
    places = sorted(cuts)
    parts = [STREAM[a:b] for a, b in zip([0, *places], [*places, len(STREAM)], strict=True)]
    assert list(parse_events(parts)) == EVENTS


def test_byte_by_byte() -> None:
    """The worst network."""
    assert list(parse_events(bytes([byte]) for byte in STREAM)) == EVENTS


def test_a_line_without_end_is_given_up() -> None:
    """Memory stays bounded with a server that is none of ours."""
    with pytest.raises(ValueError, match="line without end"):
        list(parse_events([b"x" * (MAX_LINE_BYTES + 1)]))
