"""What load balancers and Marathon ask: alive, ready, which version. Open to everybody."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from api.auth import public
from api.eremetic.render import version as eremetic_version
from builder_framework.ports import Builds


def blueprint(builds: Builds, version: str, *, eremetic: bool = False) -> Blueprint:
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
        response = jsonify({"ready": readiness.ready, "checks": readiness.checks})
        response.status_code = 200 if readiness.ready else 503
        return response

    @health.get("/api/v1/version")
    @public
    def show_version() -> Response:
        if eremetic and "application/json" not in request.headers.get("Accept", ""):
            return eremetic_version()
        return jsonify({"name": "builder-framework", "version": version, "api": "v1"})

    return health
