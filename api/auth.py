"""Who may call: HTTP basic auth (RFC 7617), a bearer token (RFC 6750) or a session of the web page,
but for what is open.

The check runs before routing errors are told, so that a 404 needs a password too. Each view says
what it does (`needs`), and callers are held to their role; a new route that says nothing is closed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from flask import Flask, Response, current_app, g, request
from flask_httpauth import HTTPBasicAuth

from api import errors
from api.brake import Brake
from api.sessions import Sessions
from builder_framework import logfields
from builder_framework.domain.access import Action, Actor, Subject, Verdict, decide
from builder_framework.domain.model import is_build_id
from builder_framework.domain.projects import is_project_name
from builder_framework.errors import NotFoundError, no_build, no_project
from builder_framework.people import People
from builder_framework.ports import Builds

CHALLENGE = 'Basic realm="builder", charset="UTF-8"'

PAGE_CHALLENGE = 'Bearer realm="builder"'
"""For scripts of the web page: browsers open a dialog of their own for the other one."""

PAGES = "/ui"
"""Below this everything is for browsers."""

LOGIN = f"{PAGES}/login"

FORM_FIELD = "csrf"
FORM_HEADER = "X-CSRF-Token"
"""Where a request that a session stands behind carries `Sessions.form_token`."""

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


def session() -> str | None:
    """The cookie of the session that stands behind this request; None: something else does."""
    found: str | None = g.get("builder_session")
    return found


def install(
    app: Flask,
    people: People,
    builds: Builds,
    sessions: Sessions,
    allowed_origins: Collection[str] = (),
) -> Gate:
    """Close every endpoint of `app` that is not `public`, 404s included."""
    gate = Gate(people, builds, sessions, frozenset(allowed_origins))
    app.before_request(gate.authenticate)
    app.before_request(gate.same_origin)
    app.before_request(gate.meant)
    app.before_request(gate.authorize)
    return gate


class Gate:
    """What every request passes, one check after the other."""

    def __init__(
        self,
        people: People,
        builds: Builds,
        sessions: Sessions,
        allowed_origins: frozenset[str],
    ) -> None:
        self._people = people
        self._builds = builds
        self._sessions = sessions
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
                found = self.by_password(credentials.username or "", credentials.password or "")
        elif not scheme:
            found = self._by_session()
        if found is None:
            return self._turned_away(asked_to_log_in=not scheme)
        g.builder_actor = found
        logfields.add(user=found.name)
        return None

    def _by_session(self) -> Actor | None:
        cookie = request.cookies.get(self._sessions.cookie_name, "")
        name = self._sessions.user(cookie)
        if name is None:
            return None
        g.builder_session = cookie
        return self._people.known(name)

    def _turned_away(self, *, asked_to_log_in: bool) -> Response:
        if asked_to_log_in and _is_page():
            # Only a path of ours, and none that changes something.
            here = request.full_path.rstrip("?") if request.method == "GET" else f"{PAGES}/"
            words = urlencode({"next": here})
            return Response(status=303, headers={"Location": f"{LOGIN}?{words}"})
        return _challenge(page=self._sessions.cookie_name in request.cookies)

    def by_password(self, name: str, password: str) -> Actor | None:
        """The user, if the password is his. Raises RequestError for those who have to wait."""
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

    def meant(self) -> None:
        """A browser sends its session's cookie by itself: what changes something needs a token."""
        cookie = session()
        if request.method not in _WRITES or cookie is None:
            return
        token = request.headers.get(FORM_HEADER)
        # Elsewhere the body may be an upload, which is not to be read here.
        if token is None and _is_page():
            token = request.form.get(FORM_FIELD)
        if not self._sessions.fits(cookie, token or ""):
            raise errors.RequestError(
                403, "no_form_token", "the form is not of this session: load the page again"
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
    Action.WATCH: "see the agents",
    Action.OPERATE: "operate the framework",
    Action.MANAGE: "manage the project",
    Action.ADMINISTER: "manage projects",
}


def _challenge(*, page: bool) -> Response:
    # The same words whether the user or the password is wrong.
    response = errors.problem(
        401, "unauthorized", "this needs a user and a password that the server knows"
    )
    response.headers["WWW-Authenticate"] = PAGE_CHALLENGE if page else CHALLENGE
    return response


def _is_page() -> bool:
    """Whether people look at what is answered, with a browser."""
    if request.path in ("/", "/docs"):
        return "text/html" in request.headers.get("Accept", "")
    return request.path == PAGES or request.path.startswith(f"{PAGES}/")


def _is_public() -> bool:
    if request.method == "OPTIONS" or request.endpoint is None:
        return False
    return getattr(_view(), "is_public", False) is True


def _view() -> Callable[..., Any]:
    """Of this request, whose endpoint is known."""
    return current_app.view_functions[request.endpoint or ""]
