"""Bodies of requests, from parsed JSON: every faulty field at once, in sentences.

No message repeats a value, which may be a secret; what may have been meant is offered by name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from api import strictjson
from api.fields import Body
from builder_framework.errors import FieldProblem, InvalidInputError

AnyBody = TypeVar("AnyBody", bound=Body)


def parse(
    model: type[AnyBody],
    document: Any,
    known: list[FieldProblem] | None = None,
    context: dict[str, Any] | None = None,
) -> AnyBody:
    """A body from parsed JSON. `known`: what `strictjson.parse` had found wrong in it.

    Raises InvalidInputError that lists every faulty field, `known` ones first.
    """
    problems = list(known or ())
    body: AnyBody | None = None
    try:
        body = model.model_validate(document, context=context)
    except ValidationError as error:
        told = {item.field for item in problems}
        found = (_field_problem(item, model) for item in error.errors(include_url=False))
        # One sentence per field: a duplicate key or bad number is the cause of what follows.
        problems += [item for item in found if item.field not in told]
    if problems or body is None:
        raise InvalidInputError(problems)
    return body


_SENTENCES = {
    "missing": "is required",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "finite_number": "must be a finite number",
}


def _field_problem(error: ErrorDetails, root: type[BaseModel]) -> FieldProblem:
    location = tuple(part for part in error["loc"] if part != "[key]")
    path = strictjson.path_text(location)
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return FieldProblem(path, f"unknown field{_did_you_mean(location, root)}")
    if kind in _SENTENCES:
        return FieldProblem(path or "body", _SENTENCES[kind])
    if kind == "too_long":
        return FieldProblem(path, f"has more than {context['max_length']} entries")
    if kind == "too_short":
        return FieldProblem(path, f"has fewer than {context['min_length']} entries")
    if kind == "string_too_long":
        return FieldProblem(path, f"is longer than {context['max_length']} characters")
    if kind == "string_too_short":
        return FieldProblem(path, "is empty")
    return FieldProblem(path, error["msg"])


# Names of other build services, near in meaning but not in spelling.
_SYNONYMS = {
    "image": "images",
    "tag": "images",
    "tags": "images",
    "branch": "ref",
    "commit": "ref",
    "token": "password",
    "user": "username",
    "key": "ssh_key",
    "private_key": "ssh_key",
    "recursive": "submodules",
    "recurse_submodules": "submodules",
    "buildargs": "build_args",
    "args": "build_args",
    "memory": "mem",
    "cpu": "cpus",
    "git": "source",
    "repository": "source",
    "repo": "source",
    "webhook": "webhooks",
    "callback": "webhooks",
    "callback_url": "webhooks",
    "platform": "platforms",
    "extra_hosts": "add_hosts",
    "attest": "provenance",
    "image_label": "image_labels",
    "logins": "registries",
}


def _did_you_mean(location: tuple[str | int, ...], root: type[BaseModel]) -> str:
    model = _model_at(location[:-1], root)
    return "" if model is None else suggestion(str(location[-1]), list(model.model_fields))


def _model_at(location: tuple[str | int, ...], root: type[BaseModel]) -> type[BaseModel] | None:
    """Of the object there; None where there is none of a fixed shape."""
    model: type[BaseModel] | None = root
    for name in location:
        if isinstance(name, int):
            continue
        field = model.model_fields.get(name) if model is not None else None
        model = next(_models_in(field.annotation), None) if field is not None else None
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Of `X`, `X | None`, `list[X]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def suggestion(name: str, known: list[str]) -> str:
    """`; did you mean '…'?` for a misspelt name, or all names when none is near."""
    synonym = _SYNONYMS.get(name.lower())
    if synonym in known:
        return f"; did you mean '{synonym}'?"
    near = difflib.get_close_matches(name[:64].lower(), known, 1)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known are {', '.join(known)}"
