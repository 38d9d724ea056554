"""Build contexts that come with a request, and go to the executor that builds them."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from typing import IO, Any

from flask import Blueprint, Response, request
from werkzeug.datastructures import FileStorage

from api import auth, errors
from api.described import Plain, describes
from builder_framework.errors import FieldProblem, InvalidInputError, NotFoundError
from builder_framework.ports import RequestPolicy, Uploads

MULTIPART = "multipart/form-data"
REQUEST_PART = "request"
CONTEXT_PART = "context"

MAX_REQUEST_BYTES = 256 * 1024
"""Of the part with the request, as of a body without a context."""

SCHEMA = {
    "type": "object",
    "required": [REQUEST_PART, CONTEXT_PART],
    "additionalProperties": False,
    "properties": {
        REQUEST_PART: {"type": "string", "description": "the body as JSON, without source"},
        CONTEXT_PART: {
            "type": "string",
            "format": "binary",
            "description": "a tar archive: plain, gzip, bzip2 or xz",
        },
    },
}
"""Of a submission that brings its build context."""

_CONTEXT = Plain(200, "The archive.", "application/x-tar")

_ID = re.compile(r"[0-9a-f]{32}")
_TARS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
"""How gzip, bzip2 and xz begin."""

_MAGIC_AT = 257
"""Where a tar header says `ustar` (POSIX pax interchange format)."""


@contextlib.contextmanager
def parts(policy: RequestPolicy) -> Iterator[tuple[bytes, IO[bytes]]]:
    """The request's JSON and the archive, in a file that ends with the block.

    Raises RequestError, InvalidInputError.
    """
    _check_size(policy)
    try:
        yield _read()
    finally:
        for each in request.files.values():
            each.close()


def _check_size(policy: RequestPolicy) -> None:
    if not policy.uploads:
        raise InvalidInputError(
            [
                FieldProblem(
                    CONTEXT_PART,
                    "uploads are not possible here: the operator has to set upload_url "
                    "(BUILDER_UPLOAD_URL), where agents reach this API",
                )
            ]
        )
    most = policy.upload_max_mb * 1024 * 1024 + MAX_REQUEST_BYTES
    if (request.content_length or 0) > most:
        raise errors.RequestError(
            413,
            "payload_too_large",
            f"the context is larger than {policy.upload_max_mb} MiB, the operator's limit "
            "(upload_max_mb); exclude files with .dockerignore",
        )
    request.max_content_length = most
    request.max_form_memory_size = MAX_REQUEST_BYTES


def _read() -> tuple[bytes, IO[bytes]]:
    body, context = _part(REQUEST_PART), request.files.get(CONTEXT_PART)
    problems = []
    if body is None:
        problems.append(FieldProblem(REQUEST_PART, "is missing: the request as JSON"))
    if context is None:
        problems.append(FieldProblem(CONTEXT_PART, "is missing: a tar archive, as a file"))
    elif not _is_tar(context):
        problems.append(FieldProblem(CONTEXT_PART, "is no tar archive (plain, gzip, bzip2 or xz)"))
    unknown = {*request.form, *request.files} - {REQUEST_PART, CONTEXT_PART}
    problems += [FieldProblem(name[:64], "is no part of a request") for name in sorted(unknown)]
    if problems or body is None or context is None:
        raise InvalidInputError(problems)
    return body, context.stream


def _part(name: str) -> bytes | None:
    """As a field or, as curl sends what has a type, as a file."""
    if name in request.form:
        return request.form[name].encode()
    found = request.files.get(name)
    if found is None:
        return None
    data = found.stream.read(MAX_REQUEST_BYTES + 1)
    if len(data) > MAX_REQUEST_BYTES:
        raise InvalidInputError(
            [FieldProblem(name, f"is larger than {MAX_REQUEST_BYTES // 1024} KiB")]
        )
    return data


def _is_tar(context: FileStorage) -> bool:
    head = context.stream.read(_MAGIC_AT + 5)
    context.stream.seek(0)
    return head.startswith(_TARS) or head[_MAGIC_AT:] == b"ustar"


def digest(content: IO[bytes]) -> tuple[str, int]:
    """Its SHA-256 in hex and its size; it is at its beginning again."""
    found = hashlib.sha256()
    while piece := content.read(1024 * 1024):
        found.update(piece)
    size = content.tell()
    content.seek(0)
    return found.hexdigest(), size


def put_into(document: Any, sha256: str, size: int) -> Any:
    """The request's body with the upload as its source. Raises InvalidInputError."""
    if not isinstance(document, dict):
        return document
    if "source" in document:
        raise InvalidInputError(
            [FieldProblem("source", "must be left out: the context is what is uploaded with it")]
        )
    return {**document, "source": {"upload": {"sha256": sha256, "size": size}}}


def blueprint(uploads: Uploads) -> Blueprint:
    """For executors, each with the token of its own build."""
    made = Blueprint("uploads", __name__, url_prefix="/api/v1/uploads")

    @made.get("/<upload_id>")
    @auth.public
    @describes("fetchUpload", _CONTEXT, problems=(503,))
    def fetch(upload_id: str) -> Response:
        """The build context of a build, for its executor."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        errors.remember_secrets([token])
        if not _ID.fullmatch(upload_id) or scheme.lower() != "bearer" or not token:
            raise NotFoundError("there is no such upload, or this is not its token")
        return Response(uploads.read(upload_id, token), content_type="application/x-tar")

    return made
