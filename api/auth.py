"""Who may call: HTTP basic auth (RFC 7617) on everything but the endpoints named open.

The check runs before routing errors are told, so that a 404 needs a password too, and a new
route is closed unless it is marked open.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, g, request
from flask_httpauth import HTTPBasicAuth

from api import errors
from builder_framework.users import Authenticator

CHALLENGE = 'Basic realm="builder", charset="UTF-8"'

View = TypeVar("View", bound=Callable[..., Any])

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def public(view: View) -> View:
    """Mark a view as open to everybody."""
    view.is_public = True  # type: ignore[attr-defined]
    return view


def owner() -> str:
    """The name of the user who makes this request."""
    name: str = g.builder_user
    return name


def install(app: Flask, users: Authenticator, allowed_origins: Collection[str] = ()) -> None:
    """Close every endpoint of `app` that is not `public`, 404s included."""
    basic = HTTPBasicAuth(realm="builder")

    @basic.verify_password  # type: ignore[untyped-decorator]
    def verify(name: str, password: str) -> str | None:
        errors.remember_secrets([password])
        return name if users.verify(name, password) else None

    @basic.error_handler  # type: ignore[untyped-decorator]
    def refused(_status: int) -> Response:
        # The same words whether the user or the password is wrong.
        response = errors.problem(
            401, "unauthorized", "this needs a user and a password that the server knows"
        )
        response.headers["WWW-Authenticate"] = CHALLENGE
        return response

    def authenticate() -> Response | None:
        if _is_public():
            return None
        # `login_required` would let every OPTIONS request through, and HTTPBasicAuth takes
        # any scheme (and gives it as bytes): hence these steps by hand.
        scheme = request.headers.get("Authorization", "").partition(" ")[0]
        credentials = basic.get_auth() if scheme.lower() == "basic" else None
        user: str | None = None
        if credentials is not None:
            user = basic.authenticate(credentials, None)
        if user is None:
            challenge: Response = basic.auth_error_callback(401)
            return challenge
        g.builder_user = user
        return None

    def same_origin() -> None:
        """Browsers resend basic auth by themselves; another site's page must not use that."""
        if request.method not in _WRITES:
            return
        origin = request.headers.get("Origin")
        foreign = request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")
        if origin is not None:
            foreign = urlsplit(origin).netloc != request.host
        if foreign and origin not in allowed_origins:
            raise errors.RequestError(
                403, "foreign_origin", "pages of other sites may not change anything here"
            )

    app.before_request(authenticate)
    app.before_request(same_origin)


def _is_public() -> bool:
    if request.method == "OPTIONS" or request.endpoint is None:
        return False
    view = current_app.view_functions[request.endpoint]
    return getattr(view, "is_public", False) is True
