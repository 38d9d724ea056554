"""Reads server-sent events (WHATWG HTML, 9.2.6 "Interpreting an event stream"). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_LINE_BYTES = 4 * 1024 * 1024
"""Of one line; this server's are 16 KiB of log in JSON. More means it is another server."""

_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True)
class ServerEvent:
    """One event. `id` is the last one seen so far, as the standard has it."""

    name: str
    data: str
    id: str | None = None


def parse_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines that end in CR LF, LF or CR, however the bytes were cut. An unfinished one is lost.

    Raises ValueError for a line over MAX_LINE_BYTES.
    """
    unfinished: list[bytes] = []
    length = 0
    after_cr = False
    for chunk in chunks:
        # The LF of a CR LF that was cut in two ends no second line.
        rest = chunk[1:] if after_cr and chunk.startswith(b"\n") else chunk
        if chunk:
            after_cr = rest.endswith(b"\r")
        first, *others = _LINE_END.split(rest)
        unfinished.append(first)
        length += len(first)
        for following in others:
            yield b"".join(unfinished)
            unfinished, length = [following], len(following)
        if length > MAX_LINE_BYTES:
            raise ValueError("not an event stream: a line without end")


def parse_events(chunks: Iterable[bytes]) -> Iterator[ServerEvent]:
    """The events in a stream of bytes. One that the stream's end cuts off is lost, by the standard.

    Comments (keep-alives) and `retry` are passed over. Raises ValueError for endless lines.
    """
    name, last_id = "", None
    data: list[str] = []
    for number, raw in enumerate(parse_lines(chunks)):
        line = raw.decode("utf-8", "replace")
        if number == 0:
            line = line.removeprefix("\ufeff")
        if not line:
            if data:
                yield ServerEvent(name or "message", "\n".join(data), last_id)
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id" and "\0" not in value:
            last_id = value
