"""An id for each request, and a line in the log for each one that changes something.

Clients may bring the id (`X-Request-Id`), so that it is the same all along their way; it comes back
with every answer.
"""

from __future__ import annotations

import logging
import re
import secrets
import time

from flask import Flask, Response, g, request

from builder_framework import logfields

log = logging.getLogger("api.requests")

HEADER = "X-Request-Id"

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Of others; anything else could forge a part of somebody's log."""

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


def install(app: Flask) -> None:
    """Name every request of `app`, and tell what became of it."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    given = request.headers.get(HEADER, "")
    g.builder_request_id = given if _ID.fullmatch(given) else secrets.token_hex(8)
    g.builder_request_began = time.monotonic()
    fields = {"request_id": g.builder_request_id, "method": request.method[:16]}
    if request.url_rule is not None:
        fields["route"] = request.url_rule.rule
    logfields.begin(**fields)


def _end(response: Response) -> Response:
    response.headers[HEADER] = g.builder_request_id
    changes = request.method not in _READS
    seconds = time.monotonic() - g.builder_request_began
    route = request.url_rule.rule if request.url_rule is not None else "no route"
    # Never the path or the query: whatever callers put there is theirs.
    log.log(
        logging.INFO if changes else logging.DEBUG,
        "%s %s: %d after %.3f s",
        request.method[:16],
        route,
        response.status_code,
        seconds,
    )
    return response
