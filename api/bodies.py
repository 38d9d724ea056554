"""Bodies of requests: JSON, or nothing at all."""

from __future__ import annotations

from typing import Any

from flask import request

from api import errors, strictjson
from builder_framework.errors import FieldProblem, InvalidInputError


class InvalidJsonError(InvalidInputError):
    """A body that is not JSON, or beyond the limits."""

    code = "invalid_json"


def document() -> tuple[Any, list[FieldProblem]]:
    """The body as JSON, and its faults. Its secrets are masked from here on.

    Raises RequestError, InvalidJsonError.
    """
    if request.mimetype != "application/json":
        raise errors.RequestError(
            415, "unsupported_media_type", "send the body as Content-Type: application/json"
        )
    needs_a_length()
    return parsed(request.get_data(cache=False))


def needs_a_length() -> None:
    """Raises RequestError for a body in chunks."""
    if "Transfer-Encoding" in request.headers:
        # werkzeug's LimitedStream.readall ends a chunked body at the limit without a word.
        raise errors.RequestError(
            411, "length_required", "send the body with Content-Length, not in chunks"
        )


def parsed(body: bytes) -> tuple[Any, list[FieldProblem]]:
    """See `document`. Raises InvalidJsonError."""
    try:
        found, problems = strictjson.parse(body)
    except strictjson.JsonError as error:
        raise InvalidJsonError([FieldProblem("body", str(error))], str(error)) from None
    errors.remember_secrets(strictjson.strings_at(found, "password"))
    return found, problems


def no_fields() -> None:
    """A body may be left out; one that is there must be an empty JSON object."""
    chunked = "Transfer-Encoding" in request.headers
    if not chunked and not request.content_length and request.mimetype in ("", "application/json"):
        return
    found, problems = document()
    if problems or found != {}:
        raise InvalidInputError([FieldProblem("body", "this takes no fields; send {} or nothing")])
