"""Every error leaves as `application/problem+json` (RFC 9457) with a stable `code`.

What goes out, and what goes to the log, is redacted with the secrets of the request at hand.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus

from flask import Flask, Response, g, has_app_context, request
from werkzeug.exceptions import HTTPException

from builder_framework import answers
from builder_framework.errors import (
    BuilderError,
    ConflictError,
    FieldProblem,
    InvalidInputError,
    LeadershipLostError,
    NotFoundError,
    StaleWriteError,
    StoreUnavailableError,
)
from builder_framework.redact import Redactor, Secret

log = logging.getLogger("api")

PROBLEM_TYPE = "urn:builder-framework:problem:"

MAX_PROBLEMS = 100
"""Faulty fields listed in one answer."""

RETRY_AFTER_SECONDS = 5

# Codes of the errors that Flask and werkzeug raise by themselves.
_HTTP_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    415: "unsupported_media_type",
    500: "internal_error",
}


class RequestError(BuilderError):
    """An HTTP request that cannot be served, with the status and code to say so."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem_code = code
        self.headers = headers or {}


def remember_secrets(secrets: Iterable[str]) -> None:
    """From now on mask these in whatever this request says or logs."""
    known = getattr(g, "builder_secrets", ())
    # Half a surrogate pair cannot be encoded in the forms that the redactor looks for.
    encodable = (value.encode("utf-8", "replace").decode() for value in secrets)
    g.builder_secrets = (*known, *(Secret(value) for value in encodable))


def request_redactor() -> Redactor:
    """Masks the secrets that came with this request."""
    return Redactor(getattr(g, "builder_secrets", ()) if has_app_context() else ())


def problem(
    status: int,
    code: str,
    detail: str,
    problems: Sequence[FieldProblem] = (),
) -> Response:
    """The response for an error: RFC 9457 members, `code`, and `errors` where fields are wrong."""
    redact = request_redactor().text
    body: answers.Problem = {
        "type": PROBLEM_TYPE + code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": redact(detail),
        "code": code,
    }
    if problems:
        shown = list(problems[:MAX_PROBLEMS])
        if len(problems) > MAX_PROBLEMS:
            shown.append(FieldProblem("", f"and {len(problems) - MAX_PROBLEMS} more"))
        body["errors"] = [
            {"field": redact(item.field), "problem": redact(item.problem)} for item in shown
        ]
    # ASCII only: a field's name may hold what a terminal or a log would act upon.
    text = json.dumps(body) + "\n"
    response = Response(text, status=status, content_type="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    return response


def answer(error: Exception) -> Response:
    """The problem that tells of an error, whatever it is."""
    if isinstance(error, BuilderError):
        return _of_builder_error(error)
    if isinstance(error, HTTPException):
        return _of_http_exception(error)
    return _internal(error)


def _of_builder_error(error: BuilderError) -> Response:
    if isinstance(error, RequestError):
        response = problem(error.status, error.problem_code, error.message)
        response.headers.update(error.headers)
        return response
    if isinstance(error, InvalidInputError):
        count = len(error.problems)
        detail = f"{count} field{'s are' if count != 1 else ' is'} wrong"
        if error.code != InvalidInputError.code or not count:
            detail = error.message
        return problem(400, error.code, detail, error.problems)
    if isinstance(error, NotFoundError):
        return problem(404, error.code, error.message)
    if isinstance(error, ConflictError):
        return problem(409, error.code, error.message)
    if isinstance(error, StoreUnavailableError):
        # The message may name hosts and files of the database: it is for the log.
        log.warning("store unavailable: %s", request_redactor().text(error.message))
        return _later(error.code, "the store does not answer right now; nothing was changed")
    if isinstance(error, (LeadershipLostError, StaleWriteError)):
        return _later(error.code, "another process leads now; nothing was changed")
    return _internal(error)


def _later(code: str, detail: str) -> Response:
    response = problem(503, code, detail)
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _of_http_exception(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:  # a redirect of the router
        return Response(status=404)
    code = _HTTP_CODES.get(status, "http_error")
    details = {
        404: "there is nothing at this address",
        405: f"{request.method} is not possible here",
        413: "the body is larger than this server takes",
    }
    response = problem(status, code, details.get(status, HTTPStatus(status).description))
    for name, value in error.get_headers():
        if name.lower() == "allow":
            response.headers[name] = value
    return response


def _internal(error: Exception) -> Response:
    """500 without a word about what happened; the log has all, redacted."""
    log_exception(error, f"{request.method} {request.path}")
    return problem(500, "internal_error", "something went wrong here; the server's log says what")


def log_exception(error: Exception, doing: str, redactor: Redactor | None = None) -> None:
    """One log record with the traceback, masked by `redactor` or this request's own secrets."""
    text = "".join(traceback.format_exception(error))
    # A repr'd path, so that an encoded line break cannot forge a second record.
    log.error("unexpected error in %r: %s", doing, (redactor or request_redactor()).text(text))


def _finish(response: Response) -> Response:
    # Nothing here is ever a page: a browser must not guess, keep, frame or run any of it.
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Cache-Control", "no-store")
    headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    return response


def install(app: Flask) -> None:
    """Make `app` answer every error as a problem, and set the headers all answers share."""
    app.register_error_handler(BuilderError, _of_builder_error)
    app.register_error_handler(HTTPException, _of_http_exception)
    app.register_error_handler(Exception, _internal)
    app.after_request(_finish)
