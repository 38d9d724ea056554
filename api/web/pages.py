"""What all pages share: what they are made of, their headers, and how they tell of errors."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, g, make_response, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from api import auth, errors
from api.sessions import Sessions
from builder_framework.domain.access import Action, Actor, Subject, Verdict, decide
from builder_framework.errors import FieldProblem, InvalidInputError
from builder_framework.people import Projects
from builder_framework.ports import Builds, RequestPolicy

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        # No script may turn text into markup (Trusted Types), ours included.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
        f"report-uri {auth.PAGES}/reports",
    )
)
"""Content-Security-Policy of every page: nothing inline, nothing from elsewhere."""

LIVE_SECONDS = 3
"""Between two looks of a page at what has changed."""


@dataclass(frozen=True)
class Parts:
    """What the pages are made of."""

    builds: Builds
    policy: RequestPolicy
    projects: Projects | None
    gate: auth.Gate
    sessions: Sessions
    eremetic: bool = False


def install(web: Blueprint, parts: Parts) -> None:
    """Give every template what it needs, and every error of these routes a page."""

    @web.app_context_processor
    def common() -> dict[str, Any]:
        cookie = auth.session()
        return {
            "who": g.get("builder_actor"),
            "form_token": parts.sessions.form_token(cookie) if cookie else "",
            "path": request.path,
            "now": time.time(),
        }

    web.register_error_handler(Exception, _error)


def page(template: str, status: int = 200, **values: Any) -> Response:
    """A rendered page."""
    response = make_response(render_template(template, **values), status)
    response.headers["Content-Security-Policy"] = POLICY
    # With `no-referrer` browsers would send `Origin: null` with our own forms.
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


def to(response: AnyResponse) -> Response:
    """A redirect, which Flask types as werkzeug's response."""
    return make_response(response)


def may(action: Action, subject: Subject | None = None) -> bool:
    """Whether the caller may do it: what he may not is not offered to him."""
    return decide(auth.actor(), action, subject) is Verdict.ALLOWED


def problems_of(error: InvalidInputError) -> list[FieldProblem]:
    """By field, with the secrets of this request masked."""
    redact = errors.request_redactor().text
    shown = error.problems[: errors.MAX_PROBLEMS] or (FieldProblem("", error.message),)
    return [FieldProblem(redact(item.field), redact(item.problem)) for item in shown]


def actor_or_none() -> Actor | None:
    """Who makes this request; nobody at a public one."""
    found: Actor | None = g.get("builder_actor")
    return found


def _error(error: Exception) -> Response:
    """The same words as the API's."""
    problem = errors.answer(error)
    told = json.loads(problem.get_data(as_text=True) or "{}")
    response = page("error.html", problem.status_code, problem=told)
    for name in ("Retry-After", "Allow"):
        if name in problem.headers:
            response.headers[name] = problem.headers[name]
    return response
