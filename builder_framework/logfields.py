"""How a line of the process' log is written, and what it is about: build, request, user, route.

Text for people at a terminal, one JSON object a line for whatever collects logs elsewhere.
"""

from __future__ import annotations

import contextlib
import enum
import json
import logging
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime, timezone
from types import MappingProxyType
from typing import TextIO

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))
"""Each thread, and each greenlet, has its own."""


class LogFormat(str, enum.Enum):
    """AUTO: text at a terminal, JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


@contextlib.contextmanager
def about(**fields: str) -> Iterator[None]:
    """What this thread logs inside is about these, too."""
    token = _ABOUT.set({**_ABOUT.get(), **fields})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def begin(**fields: str) -> None:
    """What this thread logs from now on is about these alone."""
    _ABOUT.set(fields)


def add(**fields: str) -> None:
    """What this thread logs from now on is about these, too."""
    _ABOUT.set({**_ABOUT.get(), **fields})


def current() -> Mapping[str, str]:
    """What this thread's lines are about now."""
    return _ABOUT.get()


class JsonLines(logging.Formatter):
    """`time` (RFC 3339, UTC), `level`, `logger`, `message`, what it is about, and `exception`.

    ASCII only, so that nothing in it can act upon a terminal or break a line.
    """

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        line = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **current(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def formatter(chosen: LogFormat, *, terminal: bool) -> logging.Formatter:
    """The one for a stream that is a terminal, or is not."""
    if chosen is LogFormat.JSON or (chosen is LogFormat.AUTO and not terminal):
        return JsonLines()
    return logging.Formatter(TEXT)


def install(stream: TextIO, chosen: LogFormat, level: str) -> None:
    """Write all of this process' log to `stream`; takes the place of an earlier call."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(chosen, terminal=stream.isatty()))
    root = logging.getLogger()
    for known in tuple(root.handlers):
        root.removeHandler(known)
    root.addHandler(handler)
    root.setLevel(level)
