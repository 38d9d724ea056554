"""`GET /metrics`, and how long answers take."""

from __future__ import annotations

import time
from typing import Protocol

from flask import Blueprint, Flask, Response, g, request

from api.auth import needs, public
from builder_framework.domain.access import Action
from builder_framework.instruments import Instruments

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

NO_ROUTE = "none"
"""Route of requests for what is not there: paths are what callers like, and without number."""


class Exposition(Protocol):
    """See `service.measures.Exposition`."""

    def text(self, accept: str | None) -> tuple[bytes, str]:
        """Body and content type for a scraper with this `Accept`."""
        ...


def blueprint(exposition: Exposition, *, everybody: bool) -> Blueprint:
    """`/metrics`; `everybody`: without a login."""
    metrics = Blueprint("metrics", __name__)

    @metrics.get("/metrics")
    @(public if everybody else needs(Action.MEASURE))
    def show() -> Response:
        """Prometheus' text format, or OpenMetrics for who asks for it."""
        body, content_type = exposition.text(request.headers.get("Accept"))
        return Response(body, content_type=content_type)

    return metrics


def install(app: Flask, instruments: Instruments) -> None:
    """Take the time of every request of `app`. Has to be the first thing installed."""

    def begin() -> None:
        g.builder_began = time.monotonic()

    def end(response: Response) -> Response:
        method = request.method if request.method in _METHODS else "other"
        route = request.url_rule.rule if request.url_rule is not None else NO_ROUTE
        seconds = time.monotonic() - g.builder_began
        instruments.http.labels(method, route, str(response.status_code)).observe(seconds)
        if response.status_code == 401 and "Authorization" in request.headers:
            instruments.logins_failed.inc()
        return response

    app.before_request(begin)
    app.after_request(end)
