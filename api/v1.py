"""The v1 API: submit, look, list, cancel, read logs. Thin: checks at the edge, then the port."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, request

from api import admission, audit, auth, bodies, logtext, params, render, schemas, sse, uploads
from builder_framework import failpoints, logfields
from builder_framework.domain.access import Action
from builder_framework.domain.notices import is_message_id
from builder_framework.domain.states import State
from builder_framework.errors import FieldProblem, NotFoundError
from builder_framework.people import Projects
from builder_framework.ports import Builds, Idempotency, RequestPolicy, Uploads

LOG_LIMIT = 1024 * 1024
MAX_LOG_LIMIT = 8 * 1024 * 1024


def blueprint(
    builds: Builds,
    policy: RequestPolicy,
    kept: Uploads | None,
    projects: Projects | None,
    keepalive: float,
) -> Blueprint:
    """All of `/api/v1/builds`. `keepalive`: seconds, see `sse.stream`."""
    v1 = Blueprint("v1", __name__, url_prefix="/api/v1/builds")

    @v1.post("")
    @auth.needs(Action.SUBMIT)
    def submit() -> Response:
        """Accept a build: 202 once it is stored; the same Idempotency-Key gives the same build."""
        failpoints.reach("T1.before")
        key = params.idempotency_key(request.headers.get("Idempotency-Key"))
        owner = auth.owner()
        with _content(policy) as (document, problems, context):
            body = schemas.parse_build(document, policy, problems, uploaded=context is not None)
            upload = None if context is None or kept is None else kept.keep(context, owner)
        idempotency = None if key is None else Idempotency(key, body.fingerprint(owner))
        failpoints.reach("T1.after")
        view = None if idempotency is None else builds.replayed(owner, idempotency)
        created = False
        if view is None:
            admitted = admission.admitted(body.to_request(policy, upload), auth.actor(), projects)
            view, created = builds.submit(admitted, owner, idempotency)
        logfields.add(build_id=view.build.id)
        audit.about(view.build.id)
        shown = render.build(view)
        response = jsonify(shown)
        response.status_code = 202
        response.headers["Location"] = shown["links"]["self"]
        if not created:
            response.headers["Idempotent-Replayed"] = "true"
        return response

    @v1.get("")
    @auth.needs(Action.SEE)
    def listing() -> Response:
        """Builds, newest first, a page at a time."""
        query = replace(params.list_query(request.args), visible=auth.actor().visible)
        page = builds.list(query)
        following = None
        if page.next_cursor is not None:
            filters = [item for item in request.args.items(multi=True) if item[0] != "cursor"]
            following = f"{request.path}?{urlencode([*filters, ('cursor', page.next_cursor)])}"
        response = jsonify(
            {"builds": [render.build(view) for view in page.builds], "next": following}
        )
        if following is not None:
            response.headers["Link"] = f'<{following}>; rel="next"'
        return response

    @v1.get("/<build_id>")
    @auth.needs(Action.SEE)
    def show(build_id: str) -> Response:
        view = builds.get(build_id)
        tail = logtext.tail(builds, view) if view.build.state is State.FAILED else None
        return jsonify(render.build(view, tail))

    @v1.post("/<build_id>/cancel")
    @auth.needs(Action.CHANGE)
    def cancel(build_id: str) -> Response:
        """Ask a build to end: 202, its state then says CANCELLING or CANCELLED."""
        bodies.no_fields()
        response = jsonify(render.build(builds.cancel(build_id, auth.owner())))
        response.status_code = 202
        return response

    @v1.get("/<build_id>/log")
    @auth.needs(Action.SEE)
    def log(build_id: str) -> Response:
        """A piece of the log as text; the headers say where the next one begins."""
        query = params.Params(request.args, ("offset", "limit"))
        offset = query.number("offset", 0, 0, params.MAX_OFFSET)
        limit = query.number("limit", LOG_LIMIT, logtext.MIN_LIMIT, MAX_LOG_LIMIT)
        query.done()
        view = builds.get(build_id)
        piece = logtext.read(builds, view, offset, limit)
        complete = view.log_complete and piece.end >= view.log_size
        response = Response(piece.text, content_type="text/plain; charset=utf-8")
        response.headers["X-Log-Offset"] = str(piece.offset)
        response.headers["X-Log-Next-Offset"] = str(piece.end)
        response.headers["X-Log-Complete"] = "true" if complete else "false"
        return response

    @v1.get("/<build_id>/log/stream")
    @auth.needs(Action.SEE)
    def log_stream(build_id: str) -> Response:
        """The log and the state as they change, as server-sent events."""
        reconnects = request.headers.get("Last-Event-ID")
        offset, attends = params.resume_offset(request.args, reconnects)
        builds.get(build_id)  # a 404 must be one, not an event
        events = sse.stream(builds, build_id, offset, keepalive, attends=attends)
        response = Response(events, content_type="text/event-stream; charset=utf-8")
        response.headers["Cache-Control"] = "no-store"
        # nginx and those that follow it would hold events back to fill their buffers.
        response.headers["X-Accel-Buffering"] = "no"
        return response

    _add_deliveries(v1, builds)
    return v1


def _add_deliveries(v1: Blueprint, builds: Builds) -> None:
    """A build's webhooks."""

    @v1.get("/<build_id>/deliveries")
    @auth.needs(Action.SEE)
    def deliveries(build_id: str) -> Response:
        """The build's webhooks and what became of each try."""
        found = builds.deliveries(build_id)
        return jsonify({"deliveries": [render.delivery(view) for view in found]})

    @v1.post("/<build_id>/deliveries/<delivery_id>/redeliver")
    @auth.needs(Action.CHANGE)
    def redeliver(build_id: str, delivery_id: str) -> Response:
        """Send a webhook again, with the same id: 202."""
        if not is_message_id(delivery_id):
            raise NotFoundError("there is no delivery with this id")
        bodies.no_fields()
        response = jsonify(render.delivery(builds.redeliver(build_id, delivery_id)))
        response.status_code = 202
        return response


@contextlib.contextmanager
def _content(
    policy: RequestPolicy,
) -> Iterator[tuple[Any, list[FieldProblem], IO[bytes] | None]]:
    """The body of a submission, its faults, and the build context if one came with it."""
    if request.mimetype != uploads.MULTIPART:
        document, problems = bodies.document()
        yield document, problems, None
        return
    bodies.needs_a_length()
    with uploads.parts(policy) as (body, context):
        document, problems = bodies.parsed(body)
        yield uploads.put_into(document, *uploads.digest(context)), problems, context
