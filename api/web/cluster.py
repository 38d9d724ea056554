"""What waits, and the agents that it waits for."""

from __future__ import annotations

from flask import Blueprint, Response

from api import agents as answers
from api import auth, render
from api.web import pages
from api.web.pages import Parts
from builder_framework.domain.access import Action

MOST = 200
"""Waiting builds on a page."""


def add(web: Blueprint, parts: Parts) -> None:
    """`/ui/queue` and `/ui/agents`."""

    @web.get("/queue")
    @auth.needs(Action.SEE)
    def queue() -> Response:
        """In the order in which they are placed, with the reasons for waiting."""
        page = parts.builds.queue(MOST, auth.actor().visible)
        builds = [{**render.build(view), "created": view.build.created_at} for view in page.builds]
        return pages.page("queue.html", builds=builds, total=page.total, live=pages.LIVE_SECONDS)

    @web.get("/agents")
    @auth.needs(Action.WATCH)
    def agents() -> Response:
        """As the framework sees them."""
        found = parts.builds.agents()
        return pages.page(
            "agents.html",
            agents=[answers.agent(view) for view in found.agents],
            slots=found.slots,
            message=found.message,
            live=pages.LIVE_SECONDS,
        )
