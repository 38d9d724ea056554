"""The build's log file: whole lines, redacted, capped, readable while it grows.

And the executor's own log on stderr, which knows the secrets of every task it has seen.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from builder_framework.redact import Redactor, Secret

MAX_LINE = 64 * 1024
"""Bytes of one line that are kept."""

MAX_LOG = 64 * 1024 * 1024
"""Bytes of one log file; the last TAIL of them are kept for the end, where the error stands."""

TAIL = 1024 * 1024


_END = re.compile(rb"([\r\n])")


class Line(NamedTuple):
    """`cut`: bytes to leave out at its end. `overwrites`: on a terminal it would, after a lone CR,
    stand where another line did.
    """

    text: str
    cut: int
    overwrites: bool


class LineSplitter:
    """Bytes in, lines of text out; what exceeds the cap of a line is dropped, and said so.

    `longest_secret`: bytes of the longest form of a secret. So much more is cut from a cut line,
    lest the beginning of a secret stays at its end, where no redactor could know it.
    """

    def __init__(self, max_line: int = MAX_LINE, longest_secret: int = 0) -> None:
        self._max = max_line
        self._spare = longest_secret
        self._buffer = bytearray()
        self._dropped = 0
        self._overwrites = False

    def feed(self, data: bytes) -> list[Line]:
        """The lines that `data` completes."""
        lines = []
        # A lone CR is a line's end here: what a terminal would overwrite is shown.
        *whole, rest = _END.split(data.replace(b"\r\n", b"\n"))
        for part, end in zip(whole[::2], whole[1::2], strict=True):
            self._add(part)
            lines.append(self._take())
            self._overwrites = end == b"\r"
        self._add(rest)
        return lines

    def end(self) -> list[Line]:
        """The last line, if it has no end."""
        return [self._take()] if self._buffer else []

    def _add(self, part: bytes) -> None:
        room = self._max + self._spare - len(self._buffer)
        self._buffer += part[:room]
        self._dropped += max(0, len(part) - room)

    def _take(self) -> Line:
        text = self._buffer.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        cut = self._dropped + self._spare if self._dropped else 0
        self._buffer.clear()
        self._dropped = 0
        return Line(text, cut, self._overwrites)


class BuildLog:
    """One task's log. Thread-safe. A full disk ends the log, never the build."""

    def __init__(
        self,
        path: Path,
        secrets: Sequence[Secret] = (),
        *,
        max_line: int = MAX_LINE,
        max_log: int = MAX_LOG,
        tail: int = TAIL,
    ) -> None:
        self._lock = threading.Lock()
        self._redactor = Redactor(secrets)
        self._leaked = False
        # Percent-encoding is the longest form: three characters per byte.
        self._longest_secret = max((3 * len(s.reveal().encode()) for s in secrets), default=0)
        self._max_line = max_line
        self._head_left = max_log - tail
        self._tail_limit = tail
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._skipped = 0
        self._file: int | None = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
        )

    @property
    def leaked(self) -> bool:
        """Whether a child printed a secret, which whoever else listened to it may have kept."""
        return self._leaked

    def redact(self, text: str) -> str:
        """`text` without this task's secrets."""
        return self._redactor.text(text)

    def line(self, text: str) -> None:
        """Write a message of our own; it may have several lines."""
        self._write("".join(f"{self.redact(part)}\n" for part in text.splitlines()).encode())

    @contextlib.contextmanager
    def stream(
        self, listener: Callable[[str], None] | None = None
    ) -> Iterator[Callable[[bytes], None]]:
        """A sink for a child's output.

        `listener` gets the (redacted) lines, too, but none after a lone CR: what a build prints
        cannot look to it like a line of the child's own.
        """
        splitter = LineSplitter(self._max_line, self._longest_secret)

        def take(lines: list[Line]) -> None:
            clean = [self._clean(line.text, line.cut) for line in lines]
            if listener is not None:
                for line, text in zip(lines, clean, strict=True):
                    if not line.overwrites:
                        listener(text)
            self._write("".join(f"{text}\n" for text in clean).encode("utf-8", "replace"))

        try:
            yield lambda data: take(splitter.feed(data))
        finally:
            take(splitter.end())

    def close(self) -> None:
        """Write what was held back and make all of it durable. May be called again."""
        with self._lock:
            if self._file is None:
                return
            if self._skipped:
                self._put(f"[{self._skipped} bytes of the log left out]\n".encode())
            for line in self._tail:
                self._put(line)
            self._tail.clear()
            with contextlib.suppress(OSError):
                os.fsync(self._file)
            os.close(self._file)
            self._file = None

    def _clean(self, raw: str, cut: int) -> str:
        text = self.redact(raw)
        if text != raw and self._redactor.finds(raw):
            self._leaked = True
        if cut:
            keep = max(0, len(text) - self._longest_secret)
            return f"{text[:keep]} [{cut} bytes of this line left out]"
        return text

    def _write(self, data: bytes) -> None:
        with self._lock:
            if len(data) <= self._head_left and not self._tail:
                self._head_left -= len(data)
                self._put(data)
                return
            # From here on the file is full; remember the end and write it when there is one.
            self._head_left = 0
            for line in data.splitlines(keepends=True):
                self._tail.append(line)
                self._tail_size += len(line)
            while self._tail_size > self._tail_limit and self._tail:
                lost = len(self._tail.popleft())
                self._tail_size -= lost
                self._skipped += lost

    def _put(self, data: bytes) -> None:
        if self._file is None:
            return
        view = memoryview(data)
        # The sandbox' disk may be full; the build's own result matters more than its log.
        with contextlib.suppress(OSError):
            while view:
                view = view[os.write(self._file, view) :]


class RedactingFormatter(logging.Formatter):
    """The format of the executor's own log; `protect` adds the secrets of a task."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets: set[Secret] = set()
        self._redactor = Redactor()

    def protect(self, secrets: Sequence[Secret]) -> None:
        """From now on these never show."""
        self._secrets.update(secrets)
        self._redactor = Redactor(self._secrets)

    def format(self, record: logging.LogRecord) -> str:
        """The record as one redacted text."""
        return self._redactor.text(super().format(record))


FORMATTER = RedactingFormatter()


def setup_logging() -> None:
    """Everything goes to stderr, which the agent keeps in the sandbox."""
    handler = logging.StreamHandler()
    handler.setFormatter(FORMATTER)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # pymesos adds a handler of its own at import, which would print everything twice.
    logging.getLogger("pymesos").handlers.clear()
