"""What browsers report of our pages' Content-Security-Policy: a defect of ours, or an attack."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from typing import Any

from flask import Blueprint, Response, current_app, request

from api import auth

log = logging.getLogger("api")

KEPT = 100
EXTENSION = "csp_reports"
"""Under this name `app.extensions` has the newest reports, as `Reports`."""

_LONGEST = 16 * 1024
_WORDS = 200
_PER_MINUTE = 10


class Reports(deque[dict[str, str]]):
    """The newest reports. Anybody may send some: few of them get into the log."""

    def __init__(self) -> None:
        super().__init__(maxlen=KEPT)
        self._minute = 0
        self._told = 0
        self._lock = threading.Lock()

    def take(self, report: dict[str, str], now: float) -> None:
        """Keep it, and log it unless there were too many. `now`: seconds."""
        self.append(report)
        with self._lock:
            if int(now // 60) != self._minute:
                self._minute, self._told = int(now // 60), 0
            self._told += 1
            told = self._told
        if told <= _PER_MINUTE:
            log.warning("a browser refused a part of a page: %s", json.dumps(report))


def add(web: Blueprint) -> None:
    """`/ui/reports`."""
    reports = Reports()
    web.record_once(lambda state: state.app.extensions.__setitem__(EXTENSION, reports))

    @web.post("/reports")
    @auth.public
    def report() -> Response:
        """Takes `application/csp-report` (CSP level 2); what is something else is let go."""
        if 0 < (request.content_length or 0) <= _LONGEST:
            reports.take(_summary(request.get_data(cache=False)), time.monotonic())
        return current_app.response_class(status=204)


def _summary(body: bytes) -> dict[str, str]:
    """What of it is of use, cut short."""
    try:
        told: Any = json.loads(body)
        told = told["csp-report"]
        names = ("document-uri", "violated-directive", "blocked-uri", "source-file", "line-number")
        return {name: str(told[name])[:_WORDS] for name in names if name in told}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {"problem": "not a report"}
