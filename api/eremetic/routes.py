"""The routes of Eremetic (server/routes_v1.go, routes_v0.go) over `ports.Builds`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from api import admission, audit, auth, bodies, errors, parsing, schemas
from api.described import outside
from api.eremetic import fields, native, plain, render
from builder_framework.domain import endpoints, eremetic
from builder_framework.domain.access import Action
from builder_framework.domain.eremetic import Group, Status
from builder_framework.domain.model import BuildRequest
from builder_framework.domain.states import TERMINAL, State
from builder_framework.domain.tasks import TaskRequest
from builder_framework.errors import (
    BuilderError,
    ConflictError,
    FieldProblem,
    InvalidInputError,
    InvalidValueError,
    LeadershipLostError,
    NotFoundError,
    StaleWriteError,
    StoreUnavailableError,
)
from builder_framework.people import Projects
from builder_framework.ports import Builds, BuildView, Eremetic, ListQuery, RequestPolicy

log = logging.getLogger(__name__)

_V1 = "/api/v1/task"
_V0 = "/task"

_UNREADABLE = "Unable to read payload."
_UNPARSABLE = "Unable to parse body into a valid request."
_NOT_SCHEDULED = "Unable to schedule task"
_BAD_QUERY = "Unable to parse query params"
_DEAD = "you can not kill that which is already dead"
_UNKNOWN = "unknown task"

_PIECE = 256 * 1024
_PAGE = 200
_NONE = "-"

_STATES = {
    Group.ACTIVE.value: frozenset(State) - TERMINAL - {State.QUEUED},
    Group.QUEUED.value: frozenset({State.QUEUED}),
    Group.TERMINATED.value: TERMINAL,
}


class TaskId(BaseConverter):
    """A task's id in a path, as the id of its build; what is none becomes one of nothing."""

    def to_python(self, value: str) -> str:
        """See the class."""
        return eremetic.build_of(value) or _NONE


class _Tasks:
    """What the routes do; both versions of the API share it."""

    def __init__(
        self, builds: Builds, policy: RequestPolicy, projects: Projects | None, asked: Eremetic
    ) -> None:
        self._builds = builds
        self._policy = policy
        self._projects = projects
        self._asked = asked

    def add(self, *, old: bool) -> Response:
        """202 once the build is stored."""
        body = self._body(old=old)
        builder = native.is_builder(body.image, self._asked.builders)
        errors.remember_secrets(native.secrets_of(body, builder=builder))
        env = native.shown(body.env) if builder else body.env
        wanted = self._built(body) if builder else self._run(body)
        wanted = replace(wanted, task=self._kept(body, env))
        admitted = admission.admitted(wanted, auth.actor(), self._projects)
        view, _ = self._builds.submit(admitted, auth.owner())
        audit.about(view.build.id)
        name = eremetic.task_name(view.build.id)
        response = render.answer(202, name)
        proto = request.headers.get("X-Forwarded-Proto", "http")
        scheme = proto if proto in ("http", "https") else "http"
        path = f"{_V0 if old else _V1}/{name}"
        response.headers["Location"] = f"{scheme}://{request.host}{path}"
        return response

    def _body(self, *, old: bool) -> fields.TaskBody:
        """Whatever its Content-Type: Eremetic's own client sends none."""
        bodies.needs_a_length()
        document, problems = bodies.parsed(request.get_data(cache=False))
        if old:
            document = fields.in_v1_names(document)
        return parsing.parse(fields.TaskBody, document, problems)

    def _run(self, body: fields.TaskBody) -> BuildRequest:
        """Raises InvalidInputError."""
        if not self._asked.tasks:
            known = ", ".join(self._asked.builders)
            text = f"only tasks of {known} are taken, as builds; others take BUILDER_EREMETIC_TASKS"
            raise InvalidInputError([FieldProblem("image", text)])
        return plain.request(body, self._policy)

    def _built(self, body: fields.TaskBody) -> BuildRequest:
        """Raises InvalidInputError."""
        document, problems = native.body_of(body, self._policy)
        try:
            found = schemas.parse_build(document, self._policy)
        except InvalidInputError as error:
            told = {problem.field for problem in problems}
            others = map(native.named_as_asked, error.problems)
            raise InvalidInputError(
                [*problems, *(p for p in others if p.field not in told)]
            ) from None
        if problems:
            raise InvalidInputError(problems)
        return found.to_request(self._policy)

    def _kept(self, body: fields.TaskBody, env: Mapping[str, str] | None) -> TaskRequest:
        """`env`: what may be shown of it."""
        if body.callback_uri:
            try:
                endpoints.allowed(body.callback_uri, self._policy.webhook_hosts)
            except InvalidValueError as error:
                raise InvalidInputError([FieldProblem("callback_uri", error.message)]) from None
        return body.to_task(env)

    def listing(self, *, old: bool) -> Response:
        """Every task of those states that the caller may see, the newest first."""
        if unknown := sorted(set(request.args) - {"name", "state"}):
            raise InvalidInputError([FieldProblem(unknown[0], "is no filter: name and state are")])
        name = request.args.get("name", "")
        asked = request.args.get("state", f"{Group.ACTIVE.value},{Group.QUEUED.value}")
        words = asked.split(",") if asked else list(_STATES)
        states = frozenset[State]().union(*(_STATES.get(word, frozenset()) for word in words))
        found = [
            render.task(view.build, task)
            for view, task in (self._all(states) if states else ())
            if name in ("", task.name)
        ]
        return render.answer(200, [render.in_v0_names(each) if old else each for each in found])

    def _all(self, states: frozenset[State]) -> Iterator[tuple[BuildView, TaskRequest]]:
        query = ListQuery(
            states=tuple(sorted(states)),
            label=native.LABEL,
            visible=auth.actor().visible,
            limit=_PAGE,
        )
        while True:
            page = self._builds.list(query)
            gone = self._asked.forgotten.among([view.build.id for view in page.builds])
            for view in page.builds:
                task = view.build.request.task
                if task is not None and view.build.id not in gone:
                    yield view, task
            if page.next_cursor is None:
                return
            query = replace(query, cursor=page.next_cursor)

    def _task(self, build_id: str) -> tuple[BuildView, TaskRequest]:
        """Raises NotFoundError, also for builds that are no tasks."""
        view = self._builds.get(build_id)
        task = view.build.request.task
        if task is None or self._asked.forgotten.among([build_id]):
            raise NotFoundError(_UNKNOWN)
        return view, task

    def show(self, build_id: str, *, old: bool) -> Response:
        """With the states it was in."""
        view, task = self._task(build_id)
        shown = render.task(view.build, task)
        return render.answer(200, render.in_v0_names(shown) if old else shown)

    def stdout(self, build_id: str, *, old: bool) -> Response:  # noqa: ARG002 (as all of them)
        """The build's log so far; 204 before there is a task that could write one."""
        view, _ = self._task(build_id)
        if view.build.current is None:
            return Response(status=204)
        return Response(self._log(view), content_type="text/plain; charset=UTF-8")

    def _log(self, view: BuildView) -> Iterator[bytes]:
        offset = 0
        while offset < view.log_size:
            piece = self._builds.read_log(
                view.build.id, offset, min(_PIECE, view.log_size - offset)
            )
            if not piece:
                return
            yield piece
            offset += len(piece)

    def stderr(self, build_id: str, *, old: bool) -> Response:  # noqa: ARG002 (as all of them)
        """Empty: a build has one log, in which everything is in order."""
        view, _ = self._task(build_id)
        if view.build.current is None:
            return Response(status=204)
        return Response("", content_type="text/plain; charset=UTF-8")

    def kill(self, build_id: str, *, old: bool) -> Response:  # noqa: ARG002 (as all of them)
        """Its state is TERMINATING, then KILLED."""
        self._task(build_id)
        try:
            self._builds.cancel(build_id, auth.owner())
        except ConflictError:
            return render.answer(500, _DEAD)
        return render.answer(202, "")

    def delete(self, build_id: str, *, old: bool) -> Response:  # noqa: ARG002 (as all of them)
        """What did not run yet ends with it: nobody could look after it any more."""
        view, _ = self._task(build_id)
        build = view.build
        if eremetic.status(build) is Status.RUNNING:
            name = eremetic.task_name(build_id)
            return render.answer(409, f"Cannot delete the task [{name}]. As it is still running.")
        if not build.terminal:
            try:
                self._builds.cancel(build_id, auth.owner())
            except ConflictError:
                log.info("build %s was over before it could be deleted as a task", build_id)
        self._asked.forgotten.forget(build_id)
        return render.answer(202, "")


def blueprint(
    builds: Builds, policy: RequestPolicy, projects: Projects | None, asked: Eremetic
) -> Blueprint:
    """`/api/v1/task…`, the deprecated `/task…`, and `/version`."""
    api = Blueprint("eremetic", __name__)
    tasks = _Tasks(builds, policy, projects, asked)
    for base, old in ((_V1, False), (_V0, True)):
        one = f"{base}/<eremetic:build_id>"
        _route(api, "POST", base, Action.SUBMIT, tasks.add, old=old)
        _route(api, "GET", base, Action.SEE, tasks.listing, old=old)
        _route(api, "GET", one, Action.SEE, tasks.show, old=old)
        _route(api, "DELETE", one, Action.CHANGE, tasks.delete, old=old)
        _route(api, "POST", f"{one}/kill", Action.CHANGE, tasks.kill, old=old)
        _route(api, "GET", f"{one}/stdout", Action.SEE, tasks.stdout, old=old)
        _route(api, "GET", f"{one}/stderr", Action.SEE, tasks.stderr, old=old)
    api.add_url_rule(
        "/version",
        "v0_version",
        auth.public(lambda: _deprecated(render.version())),
        methods=["GET"],
    )
    api.register_error_handler(Exception, _failed)
    api.after_request(_finish)
    return api


def _route(
    api: Blueprint,
    method: str,
    path: str,
    action: Action,
    view: Callable[..., Response],
    *,
    old: bool,
) -> None:
    """The route, and the one with a slash at its end, which leads there."""
    name = f"{'v0' if old else 'v1'}_{view.__name__}"

    def serve(**names: str) -> Response:
        response = view(**names, old=old)
        return _deprecated(response) if old else response

    def lead(**_: str) -> Response:
        query = f"?{request.query_string.decode()}" if request.query_string else ""
        where = request.path.rstrip("/") + query
        return Response(status=301, headers={"Location": where})

    api.add_url_rule(path, name, outside(auth.needs(action)(serve)), methods=[method])
    api.add_url_rule(
        f"{path}/", f"{name}_slash", outside(auth.needs(action)(lead)), methods=[method]
    )


def _deprecated(response: Response) -> Response:
    response.headers["Warning"] = "299 - 'Deprecated API'"
    return response


def _failed(error: Exception) -> Response:
    """Every fault in the words that Eremetic has for it."""
    what = (request.endpoint or "").rpartition("_")[2]
    if isinstance(error, NotFoundError):
        return _not_there(what)
    if isinstance(error, InvalidInputError):
        text = "; ".join(f"{p.field}: {p.problem}" for p in error.problems) or error.message
        return _told(422, text, _BAD_QUERY if what == "listing" else _UNPARSABLE)
    if isinstance(error, (StoreUnavailableError, LeadershipLostError, StaleWriteError)):
        log.warning("eremetic: %s", errors.request_redactor().text(error.message))
        return _told(503, "the store does not answer right now", _NOT_SCHEDULED)
    if isinstance(error, errors.RequestError):
        response = _told(error.status, error.message, error.message)
        response.headers.update(error.headers)
        return response
    if isinstance(error, HTTPException):
        return _told(422, error.description or error.name, _UNREADABLE)
    if not isinstance(error, BuilderError):
        errors.log_exception(error, f"{request.method} {request.path}")
        return _told(500, "something went wrong here", _NOT_SCHEDULED)
    return _told(500, error.message, _NOT_SCHEDULED)


def _told(status: int, error: str, message: str) -> Response:
    return render.failure(status, errors.request_redactor().text(error), message)


def _not_there(what: str) -> Response:
    if what in ("stdout", "stderr"):
        return Response(status=204)
    if what == "kill":
        return render.answer(500, _UNKNOWN)
    return render.answer(404, _UNKNOWN if what == "delete" else None)


def _finish(response: Response) -> Response:
    """Who is not let in is told so in Eremetic's words; how to get in, in ours."""
    if response.status_code == 401:
        response.set_data("null\n")
        response.content_type = "application/json; charset=UTF-8"
    return response
