"""What load balancers and Marathon ask: alive, ready, which version. Open to everybody."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from api.auth import public
from api.eremetic.render import version as eremetic_version
from builder_framework.errors import StoreUnavailableError
from builder_framework.ports import Builds, Scheduler


def blueprint(
    builds: Builds, version: str, switch: Scheduler | None = None, *, eremetic: bool = False
) -> Blueprint:
    """`/healthz`, `/readyz` and `/api/v1/version`.

    `eremetic`: its clients ask for that version, too, and say nothing of what they accept.
    """
    health = Blueprint("health", __name__)

    @health.get("/healthz")
    @public
    def healthz() -> Response:
        """The process answers. Says nothing about Mesos: a restart would not help there."""
        return jsonify({"status": "ok"})

    @health.get("/readyz")
    @public
    def readyz() -> Response:
        """200 when builds can be accepted and placed, else 503; `checks` says what is amiss."""
        readiness = builds.readiness()
        checks = dict(readiness.checks)
        if switch is not None:
            checks["scheduler"] = _scheduler(switch)
        response = jsonify({"ready": readiness.ready, "checks": checks})
        response.status_code = 200 if readiness.ready else 503
        return response

    @health.get("/api/v1/version")
    @public
    def show_version() -> Response:
        if eremetic and "application/json" not in request.headers.get("Accept", ""):
            return eremetic_version()
        return jsonify({"name": "builder-framework", "version": version, "api": "v1"})

    return health


def _scheduler(switch: Scheduler) -> str:
    """Paused is no fault: builds are accepted, and a load balancer shall not take us out."""
    try:
        return switch.look().state(switch.on_agents())
    except StoreUnavailableError:
        return "not known"
