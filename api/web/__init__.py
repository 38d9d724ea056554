"""The web page: rendered here, kept up to date by a little JavaScript of ours (docs/web.md)."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, redirect, request, send_from_directory

from api import auth
from api.described import outside
from api.web import builds, cluster, history, login, pages, reports, show, submit
from api.web.pages import Parts
from builder_framework.domain.access import Action
from builder_framework.errors import NotFoundError

__all__ = ["Parts", "install"]


def install(app: Flask, parts: Parts) -> None:
    """Add `/ui` and, for browsers, the way there from `/`."""
    show.install(app)
    web = Blueprint("web", __name__, url_prefix=auth.PAGES, template_folder="templates")
    pages.install(web, parts)
    _add_static(web)
    login.add(web, parts)
    builds.add(web, parts)
    submit.add(web, parts)
    cluster.add(web, parts)
    history.add(web, parts)
    reports.add(web)

    @web.get("/<path:rest>")
    @auth.needs(Action.OWN)
    def nowhere(rest: str) -> Response:
        """A page that there is not tells so as a page."""
        del rest
        raise NotFoundError("there is nothing at this address")

    app.register_blueprint(web)

    for name, view in app.view_functions.items():
        if name.startswith(f"{web.name}."):
            outside(view)

    @app.get("/")
    @auth.needs(Action.OWN)
    @outside
    def root() -> Response:
        if parts.eremetic and "text/html" not in request.headers.get("Accept", ""):
            return Response(status=204)  # as Eremetic answers who is no browser
        return pages.to(redirect(f"{auth.PAGES}/", 303))


def _add_static(web: Blueprint) -> None:
    @web.get("/static/<name>")
    @auth.public
    def static(name: str) -> Response:
        """Style and scripts, which the page for logging in needs, too."""
        response = send_from_directory(f"{web.root_path}/static", name)
        # Asked for again each time, answered by 304: never an old script with a new page.
        response.headers["Cache-Control"] = "no-cache"
        return response
