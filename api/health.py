"""What load balancers and Marathon ask: alive, ready, which version. Open to everybody."""

from __future__ import annotations

from flask import Blueprint, Response

from api.auth import public
from api.described import Answer, describes
from builder_framework import answers
from builder_framework.ports import Builds

_ALIVE = Answer(200, answers.Alive)
_READY = Answer(200, answers.Ready)
_NOT_READY = Answer(503, answers.Ready)
_VERSION = Answer(200, answers.Version)


def blueprint(builds: Builds, version: str) -> Blueprint:
    """`/healthz`, `/readyz` and `/api/v1/version`."""
    health = Blueprint("health", __name__)

    @health.get("/healthz")
    @public
    @describes("isAlive", _ALIVE)
    def healthz() -> Response:
        """The process answers. Says nothing about Mesos: a restart would not help there."""
        return _ALIVE.of({"status": "ok"})

    @health.get("/readyz")
    @public
    @describes("isReady", _READY, _NOT_READY)
    def readyz() -> Response:
        """200 when builds can be accepted and placed, else 503; `checks` says what is amiss."""
        readiness = builds.readiness()
        answer = _READY if readiness.ready else _NOT_READY
        return answer.of({"ready": readiness.ready, "checks": readiness.checks})

    @health.get("/api/v1/version")
    @public
    @describes("getVersion", _VERSION)
    def show_version() -> Response:
        """The server's version."""
        return _VERSION.of({"name": "builder-framework", "version": version, "api": "v1"})

    return health
