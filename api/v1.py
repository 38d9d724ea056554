"""The v1 API: submit, look, list, cancel, read logs. Thin: checks at the edge, then the port."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from api import (
    admission,
    audit,
    auth,
    bodies,
    logtext,
    params,
    rebuild,
    render,
    schemas,
    sse,
    uploads,
)
from api.described import NO_FIELDS, Answer, Content, Parameter, Plain, describes
from builder_framework import answers, failpoints, logfields
from builder_framework.domain.access import Action
from builder_framework.domain.notices import is_message_id
from builder_framework.domain.states import State
from builder_framework.errors import FieldProblem, NotFoundError
from builder_framework.people import Projects
from builder_framework.ports import Builds, BuildView, Idempotency, RequestPolicy, Uploads

LOG_LIMIT = 1024 * 1024
MAX_LOG_LIMIT = 8 * 1024 * 1024

_LOCATION = {"Location": "path of the build"}
_REPLAYED = {"Idempotent-Replayed": "true when it is an older build"}
_ACCEPTED = Answer(202, answers.Build, {**_LOCATION, **_REPLAYED})
_PAGE = Answer(200, answers.BuildPage, {"Link": "the next page, if there is one (RFC 8288)"})
_BUILD = Answer(200, answers.Build)
_CANCELLED = Answer(202, answers.Build)
_DELIVERIES = Answer(200, answers.Deliveries)
_REDELIVERED = Answer(202, answers.Delivery)
_LOG = Plain(
    200,
    "A piece of the log, as UTF-8.",
    "text/plain; charset=utf-8",
    headers={
        "X-Log-Offset": "byte of the log at which it begins",
        "X-Log-Next-Offset": "byte at which the next piece begins",
        "X-Log-Complete": "true when nothing follows",
    },
)
_STREAM = Plain(
    200,
    "Events of StateEvent, LogEvent, EndEvent and ProblemEvent as JSON, named state, log, end and "
    "problem; the id of log is the byte offset after its text.",
    "text/event-stream; charset=utf-8",
    {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": {"enum": ["state", "log", "end", "problem"]},
            "data": {"type": "string", "contentMediaType": "application/json"},
            "id": {"type": "string"},
        },
    },
)
_SUBMISSION = Content(
    schemas.BuildBody,
    {
        "source": {"git": {"url": "https://git.example.org/app.git", "ref": "main"}},
        "images": ["registry.example.org/app:1"],
    },
    also={uploads.MULTIPART: uploads.SCHEMA},
)
_KEY = Parameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    "the same key with the same request gives the same build",
    where="header",
    example="release-1.2",
)
_RESUME = Parameter(
    "Last-Event-ID",
    {"type": "string", "pattern": "^[0-9]{0,13}$"},
    "id of the last event that was seen; goes before offset",
    where="header",
)
_PIECE = Parameter(
    "limit",
    {
        "type": "integer",
        "minimum": logtext.MIN_LIMIT,
        "maximum": MAX_LOG_LIMIT,
        "default": LOG_LIMIT,
    },
    "bytes",
)


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
    @describes("submitBuild", _ACCEPTED, content=_SUBMISSION, parameters=(_KEY,), problems=(409,))
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
            admitted = admission.admitted(
                body.to_request(policy, upload), auth.actor(), projects, policy.marathon_apps
            )
            view, created = builds.submit(admitted, owner, idempotency)
        return _accepted(view, created=created)

    @v1.get("")
    @auth.needs(Action.SEE)
    @describes("listBuilds", _PAGE, parameters=params.FILTERS)
    def listing() -> Response:
        """Builds, newest first, a page at a time."""
        query = replace(params.list_query(request.args), visible=auth.actor().visible)
        page = builds.list(query)
        following = None
        if page.next_cursor is not None:
            filters = [item for item in request.args.items(multi=True) if item[0] != "cursor"]
            following = f"{request.path}?{urlencode([*filters, ('cursor', page.next_cursor)])}"
        response = _PAGE.of(
            {"builds": [render.build(view) for view in page.builds], "next": following}
        )
        if following is not None:
            response.headers["Link"] = f'<{following}>; rel="next"'
        return response

    @v1.get("/<build_id>")
    @auth.needs(Action.SEE)
    @describes("getBuild", _BUILD)
    def show(build_id: str) -> Response:
        """A build as it is now."""
        view = builds.get(build_id)
        tail = logtext.tail(builds, view) if view.build.state is State.FAILED else None
        return _BUILD.of(render.build(view, tail))

    @v1.post("/<build_id>/cancel")
    @auth.needs(Action.CHANGE)
    @describes("cancelBuild", _CANCELLED, content=NO_FIELDS, problems=(409,))
    def cancel(build_id: str) -> Response:
        """Ask a build to end: 202, its state then says CANCELLING or CANCELLED."""
        bodies.no_fields()
        return _CANCELLED.of(render.build(builds.cancel(build_id, auth.owner())))

    @v1.get("/<build_id>/log")
    @auth.needs(Action.SEE)
    @describes("getLog", _LOG, parameters=(params.OFFSET, _PIECE))
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
    @describes("streamLog", _STREAM, parameters=(params.OFFSET, params.ATTEND, _RESUME))
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

    _add_rebuild(v1, builds, policy, projects)
    _add_deliveries(v1, builds)
    return v1


def _add_rebuild(
    v1: Blueprint, builds: Builds, policy: RequestPolicy, projects: Projects | None
) -> None:
    @v1.post("/<build_id>/rebuild")
    @auth.needs(Action.CHANGE)
    @describes("rebuild", _ACCEPTED, content=NO_FIELDS, parameters=(_KEY,), problems=(409,))
    def ask_again(build_id: str) -> Response:
        """Submit the same request once more, as the caller's: 202 with the new build.

        Its secrets are used again, so it takes what changing the build takes.
        """
        bodies.no_fields()
        key = params.idempotency_key(request.headers.get("Idempotency-Key"))
        owner = auth.owner()
        idempotency = None if key is None else Idempotency(key, f"rebuild of {build_id}")
        view = None if idempotency is None else builds.replayed(owner, idempotency)
        created = False
        if view is None:
            asked = rebuild.again(builds.get(build_id).build, policy)
            admitted = admission.admitted(asked, auth.actor(), projects, policy.marathon_apps)
            view, created = builds.submit(admitted, owner, idempotency)
        return _accepted(view, created=created)


def _accepted(view: BuildView, *, created: bool) -> Response:
    logfields.add(build_id=view.build.id)
    audit.about(view.build.id)
    shown = render.build(view)
    response = _ACCEPTED.of(shown)
    response.headers["Location"] = shown["links"]["self"]
    if not created:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def _add_deliveries(v1: Blueprint, builds: Builds) -> None:
    """A build's webhooks."""

    @v1.get("/<build_id>/deliveries")
    @auth.needs(Action.SEE)
    @describes("listDeliveries", _DELIVERIES)
    def deliveries(build_id: str) -> Response:
        """The build's webhooks and what became of each try."""
        found = builds.deliveries(build_id)
        return _DELIVERIES.of({"deliveries": [render.delivery(view) for view in found]})

    @v1.post("/<build_id>/deliveries/<delivery_id>/redeliver")
    @auth.needs(Action.CHANGE)
    @describes("redeliver", _REDELIVERED, content=NO_FIELDS)
    def redeliver(build_id: str, delivery_id: str) -> Response:
        """Send a webhook again, with the same id: 202."""
        if not is_message_id(delivery_id):
            raise NotFoundError("there is no delivery with this id")
        bodies.no_fields()
        return _REDELIVERED.of(render.delivery(builds.redeliver(build_id, delivery_id)))


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
