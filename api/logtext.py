"""Pieces of a build's log as text: cut at bytes, but never inside a character. Pure but for reads.

Logs are UTF-8 by intent only; bytes that are not become U+FFFD.
"""

from __future__ import annotations

from dataclasses import dataclass

from builder_framework.ports import Builds, BuildView

MIN_LIMIT = 4
"""Bytes: the longest UTF-8 character, so that every piece gets on."""


TAIL_BYTES = 8192
TAIL_LINES = 20
"""What a failed build shows of its log without being asked."""


@dataclass(frozen=True)
class Piece:
    """Text that begins at byte `offset` of the log and ends before byte `end`."""

    text: str
    offset: int
    end: int


def read(builds: Builds, view: BuildView, offset: int, limit: int) -> Piece:
    """Up to `limit` (≥ MIN_LIMIT) bytes from `offset`.

    A character whose rest is not read (or not written) yet is left to the next piece. `view` was
    fetched before the call: it tells whether the log may still grow.
    """
    if offset >= view.log_size:
        return Piece("", offset, offset)
    data = _read(builds, view.build.id, offset, limit)
    end = offset + len(data)
    if not (view.log_complete and end >= view.log_size):
        data = data[: len(data) - incomplete_tail(data)]
    return Piece(data.decode("utf-8", "replace"), offset, offset + len(data))


def tail(builds: Builds, view: BuildView) -> str:
    """The last lines, as many as fit into TAIL_BYTES, at most TAIL_LINES."""
    begin = max(0, view.log_size - TAIL_BYTES)
    lines = read(builds, view, begin, TAIL_BYTES).text.splitlines()
    # The first one may be cut.
    return "\n".join((lines[1:] if begin else lines)[-TAIL_LINES:])


def incomplete_tail(data: bytes) -> int:
    """How many bytes at the end (0 to 3) begin a UTF-8 character that is not there as a whole."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:  # a continuation byte: look further back
            continue
        if byte >= 0xF0:
            needed = 4
        elif byte >= 0xE0:
            needed = 3
        else:
            needed = 2 if byte >= 0xC0 else 1
        return back if needed > back else 0
    return 0


def _read(builds: Builds, build_id: str, offset: int, limit: int) -> bytes:
    """As much as there is up to `limit`: the store may give less at a time."""
    parts: list[bytes] = []
    missing = limit
    while missing > 0:
        part = builds.read_log(build_id, offset, missing)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        missing -= len(part)
    return b"".join(parts)
