"""RecordIO, the framing of Mesos' event streams: `<length>\\n<length bytes>`, again and again.

See "RecordIO response format" in Mesos' docs/recordio.md. Framework and executor share it.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_RECORD = 64 * 1024 * 1024
"""Bytes of one event. Offers, updates and a TaskInfo with its data are far below."""

_LENGTH_DIGITS = 20


class RecordReader:
    """Takes a stream apart that is fed in pieces of any size."""

    def __init__(self, limit: int = MAX_RECORD) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._missing = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The records that `data` completes. Raises ValueError when out of step."""
        self._buffer += data
        # A large record is not looked at again for each of its pieces.
        while len(self._buffer) >= self._missing:
            end = self._buffer.find(b"\n", 0, _LENGTH_DIGITS)
            if end < 0:
                if len(self._buffer) >= _LENGTH_DIGITS:
                    raise ValueError("no record's length where one should be")
                return
            digits = bytes(self._buffer[:end])
            if not digits.isdigit() or int(digits) > self._limit:
                raise ValueError(f"not the length of a record: {digits!r}")
            stop = end + 1 + int(digits)
            if len(self._buffer) < stop:
                self._missing = stop
                return
            record = bytes(self._buffer[end + 1 : stop])
            del self._buffer[:stop]
            self._missing = 1
            yield record
