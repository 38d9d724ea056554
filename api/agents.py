"""What waits and where builds go: the queue and the agents."""

from __future__ import annotations

from flask import Blueprint, Response, request

from api import auth, params, render
from api.described import Answer, describes
from builder_framework import answers
from builder_framework.codec import time_of, timestamp
from builder_framework.domain.access import Action
from builder_framework.domain.model import Build, Resources
from builder_framework.ports import AgentView, Builds, ExecutorView, LastOffer

DEFAULT_QUEUE = 50
MAX_QUEUE = 1000

_QUEUE = Answer(200, answers.QueuePage)
_AGENTS = Answer(200, answers.Agents)


def blueprint(builds: Builds) -> Blueprint:
    """`/api/v1/queue` and `/api/v1/agents`."""
    made = Blueprint("agents", __name__, url_prefix="/api/v1")

    @made.get("/queue")
    @auth.needs(Action.SEE)
    @describes("listQueue", _QUEUE, parameters=(params.limit(DEFAULT_QUEUE, MAX_QUEUE),))
    def queue() -> Response:
        """The builds that wait, in the order in which they are placed, with the reasons."""
        query = params.Params(request.args, ("limit",))
        limit = query.number("limit", DEFAULT_QUEUE, 1, MAX_QUEUE)
        query.done()
        page = builds.queue(limit, auth.actor().visible)
        return _QUEUE.of(
            {"builds": [render.build(view) for view in page.builds], "total": page.total}
        )

    @made.get("/agents")
    @auth.needs(Action.WATCH)
    @describes("listAgents", _AGENTS, problems=(400,))
    def agents() -> Response:
        """The agents as the framework knows them: offers, builds, executors, failures."""
        params.Params(request.args, ()).done()
        found = builds.agents()
        return _AGENTS.of(
            {
                "agents": [agent(view) for view in found.agents],
                "slots": found.slots,
                "message": found.message,
            }
        )

    return made


def agent(view: AgentView) -> answers.Agent:
    """One agent."""
    return {
        "id": view.id,
        "hostname": view.hostname,
        "url": view.url,
        "offer": None if view.offer is None else _offer(view.offer),
        "builds": [_build(build) for build in view.builds],
        "executors": [_executor(executor) for executor in view.executors],
        "warm_sources": view.warm,
        "failures": [
            {"at": time_of(each.at), "build": each.build_id, "reason": each.reason.value}
            for each in view.failures
        ],
        "avoided_until": timestamp(view.avoided_until),
    }


def _offer(offer: LastOffer) -> answers.Offer:
    return {
        "at": time_of(offer.at),
        "resources": _resources(offer.resources),
        "attributes": dict(offer.attributes),
        "unavailable_from": timestamp(offer.unavailable_from),
        "used": offer.used,
        "refusals": [{"reason": each.reason, "builds": each.builds} for each in offer.refusals],
    }


def _executor(executor: ExecutorView) -> answers.Executor:
    return {
        "id": executor.id,
        "builds": list(executor.running),
        "idle_since": timestamp(executor.idle_since),
        "served": executor.served,
        "open": executor.open,
    }


def _build(build: Build) -> answers.AgentBuild:
    redact = build.request.redactor().text
    current = build.current
    return {
        "id": build.id,
        "owner": build.owner,
        "project": build.request.project,
        "state": build.state.value,
        "phase": build.phase.value if build.phase else None,
        "images": [redact(image) for image in build.request.images],
        "attempt": current.number if current else None,
        "started_at": timestamp(current.running_at if current else None),
        "resources": _resources(build.request.resources),
        "links": {"self": f"/api/v1/builds/{build.id}"},
    }


def _resources(resources: Resources) -> answers.Resources:
    return {
        "cpus": round(resources.cpus, 3),
        "mem": round(resources.mem, 3),
        "disk": round(resources.disk, 3),
    }
