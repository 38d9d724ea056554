"""`/api/v1/scheduler`: whether builds are started, for operators."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

from api import auth, bodies
from builder_framework.codec import timestamp
from builder_framework.domain.access import Action
from builder_framework.domain.scheduling import Mode, Scheduling
from builder_framework.errors import NotFoundError
from builder_framework.ports import Scheduler

VERBS = {"pause": Mode.PAUSED, "resume": Mode.RUNNING, "drain": Mode.DRAINING}


def blueprint(switch: Scheduler) -> Blueprint:
    """See the module."""
    made = Blueprint("scheduler", __name__, url_prefix="/api/v1/scheduler")

    @made.get("")
    @auth.needs(Action.MEASURE)
    def show() -> Response:
        """Whether builds are started, and how many run."""
        return jsonify(_shown(switch.look(), switch.on_agents()))

    @made.post("/<verb>")
    @auth.needs(Action.OPERATE)
    def change(verb: str) -> Response:
        """`pause`, `resume` or `drain`, stored before the answer; again it changes nothing."""
        if verb not in VERBS:
            raise NotFoundError(f"there is no such verb: {', '.join(VERBS)}")
        bodies.no_fields()
        return jsonify(_shown(switch.turn(VERBS[verb], auth.owner()), switch.on_agents()))

    return made


def _shown(now: Scheduling, on_agents: int) -> dict[str, Any]:
    return {
        "state": now.state(on_agents),
        "by": now.by,
        "since": timestamp(now.since),
        "on_agents": on_agents,
    }
