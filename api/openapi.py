"""The OpenAPI 3.1 document, made of the routes, what they say of themselves, and the types.

See https://spec.openapis.org/oas/v3.1.1.html. Every error is a problem (RFC 9457); which ones an
operation has follows from what guards it and what it takes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode
from werkzeug.routing import Rule

from api.described import JSON, Answer, Content, Description, Parameter, Plain, description_of
from builder_framework import answers
from builder_framework.domain.access import Action
from builder_framework.domain.model import BUILD_ID_PATTERN

Json = dict[str, Any]

VERSION = "3.1.1"
PROBLEM = "application/problem+json"

_REF = "#/components/schemas/{model}"
_EVENTS = (answers.StateEvent, answers.LogEvent, answers.EndEvent, answers.ProblemEvent)

NAMES: Mapping[str, Json] = {
    "build_id": {"pattern": f"^{BUILD_ID_PATTERN}$", "example": "0k3x9c1h5t7v2m4q"},
    "delivery_id": {"pattern": "^msg_[0-9a-f]{32}$", "example": "msg_" + "0c28" * 8},
    "token_id": {"pattern": "^[0-9a-f]{16}$", "example": "0f3c9a7b0f3c9a7b"},
    "upload_id": {"pattern": "^[0-9a-f]{32}$", "example": "0f3c9a7b" * 4},
    "project": {"pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "example": "shop"},
    "user": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$", "example": "ann"},
    "name": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", "example": "hub"},
}
"""What the parts of paths look like."""

PROBLEMS = {
    400: ("BadRequest", "The request is wrong; `errors` has every faulty field."),
    401: ("Unauthorized", "No user and password, or no token, that the server knows."),
    403: ("Forbidden", "The caller's role does not allow it, or a page of another site asked."),
    404: ("NotFound", "There is no such thing, or the caller may not see it."),
    409: ("Conflict", "Its state, or an earlier request, does not allow it."),
    411: ("LengthRequired", "The body has no Content-Length."),
    413: ("PayloadTooLarge", "The body is too large."),
    415: ("UnsupportedMediaType", "The body is of a type that is not taken here."),
    429: ("TooManyFailures", "Too many wrong passwords; see Retry-After."),
    500: ("InternalError", "A defect; the server's log says what."),
    503: ("Unavailable", "The store is away or the lead changes. Nothing was changed; ask again."),
}
"""Status -> name of the response's component, and what it means."""

_RETRY_AFTER = {"Retry-After": "seconds after which to ask again"}
_PROBLEM_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "how to log in"},
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}

_TAGS = {
    "healthz": "health",
    "readyz": "health",
    "version": "health",
    "openapi.json": "document",
    "whoami": "tokens",
}

_INTRODUCTION = """\
Builds images on Mesos: from a git URL to a digest in the registry. JSON in, JSON out; errors are
`application/problem+json` with a stable `code`. Fields may be added to answers; unknown fields of
requests are refused. Log in with a user and password (basic) or with a token (bearer).
"""


def document(app: Flask, version: str) -> Json:
    """The document of everything that `app` routes. `version`: of this program.

    Raises TypeError for a route that says nothing of itself.
    """
    schemas = _Schemas()
    paths: dict[str, Json] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        view = app.view_functions[rule.endpoint]
        description = description_of(view)
        if description is None:
            continue
        operation = _operation(rule, view, description, schemas)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(_path(rule), {})[method.lower()] = operation
    for event in _EVENTS:
        schemas.answer(event)
    problem = schemas.answer(answers.Problem)
    return {
        "openapi": VERSION,
        "info": {
            "title": "builder-framework",
            "version": version,
            "description": _INTRODUCTION,
            "license": {"name": "see the repository"},
        },
        "servers": [{"url": "/"}],
        "security": [{"basic": []}, {"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "token": {"type": "http", "scheme": "bearer"},
                "upload": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "That of one build; executors are given it.",
                },
            },
            "responses": {
                name: _problem(status, text, problem) for status, (name, text) in PROBLEMS.items()
            },
            "schemas": schemas.all(),
        },
    }


def _operation(
    rule: Rule, view: Callable[..., Any], description: Description, schemas: _Schemas
) -> Json:
    summary, _, rest = inspect.cleandoc(view.__doc__ or "").partition("\n\n")
    operation: Json = {
        "operationId": description.operation_id,
        "tags": [_tag(rule)],
        "summary": " ".join(summary.split()).rstrip("."),
    }
    if rest:
        operation["description"] = rest
    parameters = [_name(name) for name in sorted(rule.arguments)]
    parameters += [_parameter(each) for each in description.parameters]
    if parameters:
        operation["parameters"] = parameters
    if description.content is not None:
        operation["requestBody"] = _body(description.content, schemas)
    operation["responses"] = {
        str(answer.status): _response(answer, schemas) for answer in description.answers
    } | {
        str(status): {"$ref": f"#/components/responses/{PROBLEMS[status][0]}"}
        for status in sorted(_problems(rule, view, description))
    }
    if getattr(view, "is_public", False):
        operation["security"] = [{"upload": []}] if "upload_id" in rule.arguments else []
    return operation


def _problems(rule: Rule, view: Callable[..., Any], description: Description) -> set[int]:
    """Statuses of all errors that the operation may have."""
    found = set(description.problems)
    action: Action | None = getattr(view, "action", None)
    if action is not None:
        found |= {401, 429, 500, 503}
        if action is not Action.OWN or (rule.methods or set()) & {"POST", "PUT", "DELETE"}:
            found.add(403)
    if rule.arguments:
        found.add(404)
    if description.parameters:
        found.add(400)
    if description.content is not None:
        found |= {400, 411, 413, 415}
    return found


def _tag(rule: Rule) -> str:
    """The first word of the path after the API's version."""
    words = [word for word in rule.rule.split("/") if word not in ("", "api", "v1")]
    return _TAGS.get(words[0], words[0])


def _path(rule: Rule) -> str:
    return re.sub(r"<(?:[^:<>]*:)?([^<>]+)>", r"{\1}", rule.rule)


def _name(name: str) -> Json:
    told = dict(NAMES[name])
    example = told.pop("example")
    schema = {"type": "string", **told}
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": example}


def _parameter(parameter: Parameter) -> Json:
    made: Json = {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }
    if parameter.example is not None:
        made["example"] = parameter.example
    return made


def _body(content: Content, schemas: _Schemas) -> Json:
    schema = schemas.request(content.model)
    told = {JSON: {"schema": schema, "example": dict(content.example)}}
    others = {kind: {"schema": dict(other)} for kind, other in content.also.items()}
    return {"required": content.required, "content": {**told, **others}}


def _response(answer: Answer[Any] | Plain, schemas: _Schemas) -> Json:
    if isinstance(answer, Answer):
        words = " ".join(inspect.cleandoc(answer.body.__doc__ or "").split())
        content: Json | None = {JSON: {"schema": schemas.answer(answer.body)}}
    else:
        words = answer.description
        content = None
        if answer.content_type is not None:
            content = {answer.content_type: {"schema": dict(answer.schema)}}
    made: Json = {"description": words}
    if answer.headers:
        made["headers"] = _headers(answer.headers)
    if content is not None:
        made["content"] = content
    return made


def _problem(status: int, text: str, schema: Json) -> Json:
    made: Json = {"description": f"{HTTPStatus(status).phrase}. {text}"}
    if headers := _PROBLEM_HEADERS.get(status):
        made["headers"] = _headers(headers)
    return {**made, "content": {PROBLEM: {"schema": schema}}}


def _headers(headers: Mapping[str, str]) -> Json:
    return {
        name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
    }


class _Schemas:
    """Component schemas, as operations ask for them."""

    def __init__(self) -> None:
        self._made: dict[str, Json] = {}

    def answer(self, kind: Any) -> Json:
        """A reference to the schema of one of `answers`."""
        return self._add(kind.__name__, kind, "serialization")

    def request(self, model: Any) -> Json:
        """A reference to the schema of a body."""
        return self._add(model.__name__, model, "validation")

    def all(self) -> dict[str, Json]:
        """By name."""
        return dict(sorted(self._made.items()))

    def _add(self, name: str, kind: Any, mode: JsonSchemaMode) -> Json:
        found = TypeAdapter(kind).json_schema(mode=mode, ref_template=_REF)
        self._made.update(found.pop("$defs", {}))
        if "$ref" not in found:
            self._made[name] = found
        return {"$ref": _REF.format(model=name)}
