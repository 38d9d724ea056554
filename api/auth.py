"""Who may call: HTTP basic auth (RFC 7617) or a bearer token (RFC 6750), but for what is open.

The check runs before routing errors are told, so that a 404 needs a password too. Each view says
what it does (`needs`), and callers are held to their role; a new route that says nothing is closed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, g, request
from flask_httpauth import HTTPBasicAuth

from api import errors
from api.brake import Brake
from builder_framework import logfields
from builder_framework.domain.access import Action, Actor, Subject, Verdict, decide
from builder_framework.domain.model import is_build_id
from builder_framework.domain.projects import is_project_name
from builder_framework.errors import NotFoundError, no_build, no_project
from builder_framework.people import People
from builder_framework.ports import Builds

CHALLENGE = 'Basic realm="builder", charset="UTF-8"'

View = TypeVar("View", bound=Callable[..., Any])

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def public(view: View) -> View:
    """Mark a view as open to everybody."""
    view.is_public = True  # type: ignore[attr-defined]
    return view


def needs(action: Action) -> Callable[[View], View]:
    """Mark a view as one that does this; to the build in its path, if there is one."""

    def mark(view: View) -> View:
        view.action = action  # type: ignore[attr-defined]
        return view

    return mark


def actor() -> Actor:
    """Who makes this request."""
    found: Actor = g.builder_actor
    return found


def owner() -> str:
    """The name of the user who makes this request."""
    return actor().name


def install(
    app: Flask, people: People, builds: Builds, allowed_origins: Collection[str] = ()
) -> None:
    """Close every endpoint of `app` that is not `public`, 404s included."""
    gate = _Gate(people, builds, frozenset(allowed_origins))
    app.before_request(gate.authenticate)
    app.before_request(gate.same_origin)
    app.before_request(gate.authorize)


class _Gate:
    """What every request passes, one check after the other."""

    def __init__(self, people: People, builds: Builds, allowed_origins: frozenset[str]) -> None:
        self._people = people
        self._builds = builds
        self._allowed_origins = allowed_origins
        self._brake = Brake(time.monotonic)
        self._basic = HTTPBasicAuth(realm="builder")

    def authenticate(self) -> Response | None:
        if _is_public():
            return None
        # HTTPBasicAuth's `login_required` would let every OPTIONS request through, and it takes
        # any scheme (and gives it as bytes): hence these steps by hand.
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        found: Actor | None = None
        if scheme.lower() == "bearer":
            errors.remember_secrets([rest])
            found = self._people.by_token(rest)
        elif scheme.lower() == "basic":
            credentials = self._basic.get_auth()
            if credentials is not None:
                g.builder_login = credentials.username or ""
                found = self._by_password(credentials.username or "", credentials.password or "")
        if found is None:
            return _challenge()
        g.builder_actor = found
        logfields.add(user=found.name)
        return None

    def _by_password(self, name: str, password: str) -> Actor | None:
        """Raises RequestError for those who have to wait."""
        errors.remember_secrets([password])
        address = request.remote_addr or ""
        wait = self._brake.wait(address, name)
        # Whoever is at work goes on, whatever others try from the same address.
        if wait > 0 and not self._people.remembers(name, password):
            raise errors.RequestError(
                429,
                "too_many_failures",
                "too many wrong passwords: try again later",
                {"Retry-After": str(math.ceil(wait))},
            )
        found = self._people.by_password(name, password)
        if found is None:
            self._brake.failed(address, name)
        else:
            self._brake.succeeded(address, name)
        return found

    def same_origin(self) -> None:
        """Browsers resend basic auth by themselves; another site's page must not use that."""
        if request.method not in _WRITES:
            return
        origin = request.headers.get("Origin")
        foreign = request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")
        if origin is not None:
            foreign = urlsplit(origin).netloc != request.host
        if foreign and origin not in self._allowed_origins:
            raise errors.RequestError(
                403, "foreign_origin", "pages of other sites may not change anything here"
            )

    def authorize(self) -> None:
        """Hold the caller to his role. Raises RequestError, NotFoundError."""
        if request.endpoint is None or _is_public():
            return
        action: Action | None = getattr(_view(), "action", None)
        if action is None:
            raise errors.RequestError(403, "forbidden", "nobody may: the route names no action")
        subject = self._subject()
        verdict = decide(actor(), action, subject)
        if verdict is Verdict.HIDDEN:
            names = request.view_args or {}
            raise (
                no_build(names["build_id"]) if "build_id" in names else no_project(names["project"])
            )
        if verdict is Verdict.FORBIDDEN:
            raise forbidden(action, subject)

    def _subject(self) -> Subject | None:
        """The build or the project in the path, if there is one."""
        names = request.view_args or {}
        if "project" in names:
            if not is_project_name(names["project"]):
                raise NotFoundError("there is no project of this name")
            return Subject(names["project"])
        build_id = names.get("build_id")
        if build_id is None:
            return None
        # Nothing but an id of ours goes further: not into the store, not into a message.
        if not is_build_id(build_id):
            raise NotFoundError("there is no build with this id")
        logfields.add(build_id=build_id)
        build = self._builds.get(build_id).build
        return Subject(build.request.project, build.owner)


def forbidden(action: Action, subject: Subject | None = None) -> errors.RequestError:
    """The error for a caller whose role does not go so far."""
    who = actor()
    role = who.anywhere if subject is None else who.role_in(subject.project)
    theirs = subject is not None and subject.owner not in (None, who.name)
    whose = " of another user" if theirs else ""
    words = f"{who.name} is {role.value}, which does not allow to {_WORDS[action]}{whose}"
    return errors.RequestError(403, "forbidden", words)


_WORDS = {
    Action.SEE: "see builds",
    Action.MEASURE: "see figures of all builds",
    Action.SUBMIT: "submit builds",
    Action.CHANGE: "change a build",
    Action.OPERATE: "operate the framework",
    Action.MANAGE: "manage the project",
    Action.ADMINISTER: "manage projects",
}


def _challenge() -> Response:
    # The same words whether the user or the password is wrong.
    response = errors.problem(
        401, "unauthorized", "this needs a user and a password that the server knows"
    )
    response.headers["WWW-Authenticate"] = CHALLENGE
    return response


def _is_public() -> bool:
    if request.method == "OPTIONS" or request.endpoint is None:
        return False
    return getattr(_view(), "is_public", False) is True


def _view() -> Callable[..., Any]:
    """Of this request, whose endpoint is known."""
    return current_app.view_functions[request.endpoint or ""]
