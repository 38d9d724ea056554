"""A build's log and state as server-sent events (WHATWG HTML, "Server-sent events").

`log` events carry the byte offset after their text as id, so that a client which reconnects with
`Last-Event-ID` misses nothing and sees nothing twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping

from api import errors, logtext, render
from builder_framework import answers
from builder_framework.errors import BuilderError, NotFoundError, StoreUnavailableError
from builder_framework.ports import Builds
from builder_framework.redact import Redactor

CHUNK_BYTES = 16 * 1024
"""Of log per event. A connection that breaks loses one event at most, so not too many."""

RETRY_MILLISECONDS = 2000
"""How long a browser's EventSource waits before it reconnects."""


def event(name: str, data: Mapping[str, object], event_id: int | None = None) -> bytes:
    """One event. The data is one line of JSON, which keeps CR and LF of a log exact."""
    identity = "" if event_id is None else f"id: {event_id}\n"
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"{identity}event: {name}\ndata: {text}\n\n".encode()


ATTEND_SECONDS = 5.0
"""Between two times that a client which attends is told of: a write that fails tells it is gone."""


def stream(
    builds: Builds, build_id: str, offset: int, keepalive: float, *, attends: bool = False
) -> Iterator[bytes]:
    """The events of a build from byte `offset` of its log until it is over.

    `attends`: the build goes on because of this client (`BuildRequest.attended`).

    Ends with `event: end`, or with `event: problem` when the store fails (reconnect then). The
    watch is opened by the second `next()` and closed with the generator, so that a client that
    goes away leaves nothing behind, whether or not it ever read.
    """
    yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
    redactor, attended_at = Redactor(), float("-inf")
    keepalive = min(keepalive, ATTEND_SECONDS) if attends else keepalive
    try:
        with builds.watch(build_id) as watch:
            told: answers.StateEvent | None = None
            while True:
                view = builds.get(build_id)
                redactor = view.build.request.redactor()
                state = render.state_event(view)
                if state != told:
                    yield event("state", state)
                    told = state
                if attends and time.monotonic() - attended_at >= keepalive:
                    # What was written since the last time has found somebody.
                    builds.attend(build_id)
                    attended_at = time.monotonic()
                while True:
                    piece = logtext.read(builds, view, offset, CHUNK_BYTES)
                    if piece.end == offset:
                        break
                    offset = piece.end
                    said: answers.LogEvent = {"text": piece.text}
                    yield event("log", said, offset)
                if view.log_complete and offset >= view.log_size:
                    yield event("end", render.end_event(view.build))
                    return
                if not watch.wait(keepalive):
                    yield b": keep-alive\n\n"
    except StoreUnavailableError:
        yield _error("store_unavailable", "the store does not answer right now; connect again")
    except NotFoundError:
        yield _error("not_found", "the build is gone")
    except Exception as error:  # noqa: BLE001  (the headers are sent: no 500 is possible any more)
        errors.log_exception(error, f"log stream of {build_id}", redactor)
        code = error.code if isinstance(error, BuilderError) else "internal_error"
        yield _error(code, "something went wrong here; the server's log says what")


def _error(code: str, detail: str) -> bytes:
    problem: answers.ProblemEvent = {"code": code, "detail": detail}
    return event("problem", problem)
