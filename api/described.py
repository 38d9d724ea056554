"""What each route takes and answers, said where the route is; `openapi` makes the document of it.

An `Answer` is used by the view itself, so that what it sends is what was said: mypy compares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from flask import Response, jsonify
from pydantic import BaseModel

JSON = "application/json"

T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Answer(Generic[T]):
    """A successful answer in JSON. `body`: one of `builder_framework.answers`.

    `headers`: name to what it says.
    """

    status: int
    body: type[T]
    headers: Mapping[str, str] = field(default_factory=dict)

    def of(self, value: T) -> Response:
        """The response with this value."""
        response = jsonify(value)
        response.status_code = self.status
        return response


@dataclass(frozen=True)
class Plain:
    """A successful answer that is not JSON, or has no body (`content_type` None).

    `schema`: JSON Schema of the body.
    """

    status: int
    description: str
    content_type: str | None = None
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Parameter:
    """A parameter of the query, or a header of the request. `schema`: JSON Schema.

    `exploded` as OpenAPI has it: an array's items are parameters of the same name.
    """

    name: str
    schema: Mapping[str, Any]
    description: str
    where: str = "query"
    example: Any = None


@dataclass(frozen=True)
class Content:
    """A body that the request has or, when not `required`, may have.

    `also`: further content types with their JSON Schema, which may refer to components.
    """

    model: type[BaseModel]
    example: Mapping[str, Any]
    also: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    required: bool = True


class Nothing(BaseModel):
    """No fields. The body may as well be left out."""

    model_config = {"extra": "forbid"}


NO_FIELDS = Content(Nothing, {}, required=False)


@dataclass(frozen=True)
class Description:
    """Of one route. `problems`: statuses beyond those that follow from the rest."""

    operation_id: str
    answers: tuple[Answer[Any] | Plain, ...]
    parameters: tuple[Parameter, ...] = ()
    content: Content | None = None
    problems: tuple[int, ...] = ()


def describes(
    operation_id: str,
    *answers: Answer[Any] | Plain,
    parameters: tuple[Parameter, ...] = (),
    content: Content | None = None,
    problems: tuple[int, ...] = (),
) -> Callable[[View], View]:
    """Mark a view with what it takes and answers; its docstring is the rest.

    `operation_id` is the name of the call in clients that are generated: it never changes.
    """
    description = Description(operation_id, answers, parameters, content, problems)

    def mark(view: View) -> View:
        view.description = description  # type: ignore[attr-defined]
        return view

    return mark


def outside(view: View) -> View:
    """Mark a view as no part of the API's document: a page for people, or somebody else's API."""
    view.outside = True  # type: ignore[attr-defined]
    return view


def description_of(view: Callable[..., Any]) -> Description | None:
    """What was said of a view; None when it is outside of the document.

    Raises TypeError when nothing was said.
    """
    if getattr(view, "outside", False):
        return None
    found = getattr(view, "description", None)
    if not isinstance(found, Description):
        raise TypeError(f"{view.__name__} needs @describes or @outside (api/described.py)")
    return found
