"""What load balancers and Marathon ask: alive, ready, which version. Open to everybody."""

from __future__ import annotations

from flask import Blueprint, Response, request

from api.auth import public
from api.described import Answer, describes
from api.eremetic.render import version as eremetic_version
from builder_framework import answers
from builder_framework.errors import StoreUnavailableError
from builder_framework.ports import Builds, Scheduler

_ALIVE = Answer(200, answers.Alive)
_READY = Answer(200, answers.Ready)
_NOT_READY = Answer(503, answers.Ready)
_VERSION = Answer(200, answers.Version)


def blueprint(
    builds: Builds, version: str, switch: Scheduler | None = None, *, eremetic: bool = False
) -> Blueprint:
    """`/healthz`, `/readyz` and `/api/v1/version`.

    `eremetic`: its clients ask for that version, too, and say nothing of what they accept.
    """
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
        checks = dict(readiness.checks)
        if switch is not None:
            checks["scheduler"] = _scheduler(switch)
        answer = _READY if readiness.ready else _NOT_READY
        return answer.of({"ready": readiness.ready, "checks": checks})

    @health.get("/api/v1/version")
    @public
    @describes("getVersion", _VERSION)
    def show_version() -> Response:
        """The server's version."""
        if eremetic and "application/json" not in request.headers.get("Accept", ""):
            return eremetic_version()
        return _VERSION.of({"name": "builder-framework", "version": version, "api": "v1"})

    return health


def _scheduler(switch: Scheduler) -> str:
    """Paused is no fault: builds are accepted, and a load balancer shall not take us out."""
    try:
        return switch.look().state(switch.on_agents())
    except StoreUnavailableError:
        return "not known"
