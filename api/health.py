"""What load balancers and Marathon ask: alive, ready, which version. Open to everybody."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from api.auth import public
from builder_framework.ports import Builds


def blueprint(builds: Builds, version: str) -> Blueprint:
    """`/healthz`, `/readyz` and `/api/v1/version`."""
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
        return jsonify({"name": "builder-framework", "version": version, "api": "v1"})

    return health
