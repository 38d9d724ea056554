"""The list of builds, the page of one, and what can be done with it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, request
from werkzeug.datastructures import MultiDict

from api import admission, auth, logtext, params, render
from api.rebuild import again
from api.web import pages, timeline
from api.web.pages import Parts
from builder_framework.domain.access import Action, Subject
from builder_framework.domain.model import Build, is_build_id
from builder_framework.domain.states import State
from builder_framework.errors import FieldProblem, InvalidInputError
from builder_framework.ports import Builds, ListQuery, Page

FILTERS = ("state", "image", "git_url", "owner", "project", "label")

_PIECE = 1024 * 1024


def add(web: Blueprint, parts: Parts) -> None:
    """`/ui/`, `/ui/builds/…`."""
    builds = parts.builds

    @web.get("/", strict_slashes=False)
    @auth.needs(Action.SEE)
    def listing() -> Response:
        """Builds, newest first. A whole id as search text leads to that build."""
        text = request.args.get("q", "").strip()
        if is_build_id(text):
            return pages.to(redirect(f"{auth.PAGES}/builds/{text}", 303))
        query, problems = filters(request.args)
        found = Page((), None)
        if not problems:
            found, problems = _found(builds, query)
        kept = [item for item in request.args.items(multi=True) if item[0] != "cursor" and item[1]]
        older = None
        if found.next_cursor is not None:
            older = f"{auth.PAGES}/?{urlencode([*kept, ('cursor', found.next_cursor)])}"
        return pages.page(
            "builds.html",
            status=400 if problems else 200,
            builds=[_row(view.build, render.build(view)) for view in found.builds],
            problems=problems,
            filters={name: request.args.get(name, "") for name in FILTERS},
            filtered=any(request.args.get(name) for name in FILTERS[1:]),
            text=text,
            older=older,
            paged=query.cursor is not None,
            states=[state.value for state in State],
            live=pages.LIVE_SECONDS,
        )

    @web.get("/builds/<build_id>")
    @auth.needs(Action.SEE)
    def build(build_id: str) -> Response:
        view = builds.get(build_id)
        one = view.build
        shown = render.build(view)
        now = time.time()
        mine = Subject(one.request.project, one.owner)
        deploys = view.deployment is not None and view.deployment.going_on
        return pages.page(
            "build.html",
            build=shown,
            one=one,
            one_deployment=view.deployment,
            spans=timeline.spans(one, now),
            request_json=json.dumps(render.request(one.request), indent=2, ensure_ascii=False),
            may_cancel=not one.terminal and pages.may(Action.CHANGE, mine),
            may_rebuild=one.request.source.task is None and pages.may(Action.CHANGE, mine),
            uploaded=one.request.source.upload is not None,
            live=0 if view.log_complete and not deploys else pages.LIVE_SECONDS,
        )

    @web.get("/builds/<build_id>/log.txt")
    @auth.needs(Action.SEE)
    def log_file(build_id: str) -> Response:
        """The whole log as a file, as it is now."""
        builds.get(build_id)
        response = Response(_log(builds, build_id), content_type="text/plain; charset=utf-8")
        name = f'attachment; filename="build-{build_id}.log"'
        response.headers["Content-Disposition"] = name
        return response

    @web.post("/builds/<build_id>/cancel")
    @auth.needs(Action.CHANGE)
    def cancel(build_id: str) -> Response:
        builds.cancel(build_id, auth.owner())
        return pages.to(redirect(f"{auth.PAGES}/builds/{build_id}", 303))

    @web.post("/builds/<build_id>/rebuild")
    @auth.needs(Action.CHANGE)
    def rebuild(build_id: str) -> Response:
        """The same once more, with the secrets that came with the first."""
        asked = again(builds.get(build_id).build, parts.policy)
        admitted = admission.admitted(
            asked, auth.actor(), parts.projects, parts.policy.marathon_apps
        )
        made, _ = builds.submit(admitted, auth.owner())
        return pages.to(redirect(f"{auth.PAGES}/builds/{made.build.id}", 303))


def filters(args: MultiDict[str, str]) -> tuple[ListQuery, list[FieldProblem]]:
    """The query of a form, whose empty fields say nothing."""
    told = MultiDict(
        (name, value.strip()) for name, value in args.items(multi=True) if value.strip()
    )
    visible = auth.actor().visible
    try:
        return replace(params.list_query(told), visible=visible), []
    except InvalidInputError as error:
        return ListQuery(visible=visible), pages.problems_of(error)


def _found(builds: Builds, query: ListQuery) -> tuple[Page, list[FieldProblem]]:
    try:
        return builds.list(query), []
    except InvalidInputError as error:
        return Page((), None), pages.problems_of(error)


def _row(build: Build, shown: Mapping[str, Any]) -> dict[str, Any]:
    """What the list tells of a build beside what the API does. Times since the epoch."""
    current = build.current
    started = current.running_at if current else None
    return {**shown, "created": build.created_at, "started": started, "ended": build.ended_at}


def _log(builds: Builds, build_id: str) -> Iterator[bytes]:
    offset = 0
    while True:
        view = builds.get(build_id)
        piece = logtext.read(builds, view, offset, _PIECE)
        if piece.end == offset:
            return
        yield piece.text.encode()
        offset = piece.end
