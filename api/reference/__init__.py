"""The API's document at `/openapi.json`, and as a page for people at `/docs`.

The page is made here, of the document, without a script and without a foreign host.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, jsonify
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api import auth, openapi
from api.described import Plain, describes, outside
from builder_framework.domain.access import Action

CSP = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'"

_HERE = Path(__file__).parent
_PAGES = Environment(
    loader=FileSystemLoader(_HERE),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

Json = dict[str, Any]

_DOCUMENT = Plain(200, "OpenAPI 3.1.", "application/json", {"type": "object"})


def blueprint(version: str) -> Blueprint:
    """`/openapi.json` and `/docs`. `version`: of this program."""
    made = Blueprint("reference", __name__)

    @functools.lru_cache(maxsize=1)
    def document() -> Json:
        # Late, when every route is there.
        return openapi.document(current_app, version)

    @made.get("/openapi.json")
    @auth.needs(Action.OWN)
    @describes("getDocument", _DOCUMENT)
    def show() -> Response:
        """This document."""
        return jsonify(document())

    @made.get("/docs")
    @auth.needs(Action.OWN)
    @outside
    def page() -> Response:
        """The document as a page."""
        found = document()
        html = _PAGES.get_template("page.html").render(
            document=found, tags=_by_tag(found), schema=_Words(found)
        )
        return _sent(html, "text/html; charset=utf-8")

    @made.get("/docs/style.css")
    @auth.needs(Action.OWN)
    @outside
    def style() -> Response:
        """What the page looks like."""
        return _sent((_HERE / "style.css").read_text(encoding="utf-8"), "text/css; charset=utf-8")

    return made


def _sent(text: str, content_type: str) -> Response:
    response = Response(text, content_type=content_type)
    response.headers["Content-Security-Policy"] = CSP
    return response


def _by_tag(document: Json) -> dict[str, list[tuple[str, str, Json]]]:
    """Operations as (method, path, operation), by their first tag."""
    found: dict[str, list[tuple[str, str, Json]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            found.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    return dict(sorted(found.items()))


class _Words:
    """Schemas in words and rows."""

    def __init__(self, document: Json) -> None:
        self._components = document["components"]

    def resolved(self, value: Json) -> Json:
        """What a reference refers to."""
        if "$ref" not in value:
            return value
        _, _, kind, name = value["$ref"].split("/")
        found: Json = self._components[kind][name]
        return found

    def kind(self, schema: Json) -> str:
        """The type in a few words: `list of string`, `Git or null`."""
        if "$ref" in schema:
            return str(schema["$ref"]).rpartition("/")[2]
        if "anyOf" in schema:
            return " or ".join(self.kind(each) for each in schema["anyOf"])
        if "enum" in schema:
            return " | ".join(str(each) for each in schema["enum"])
        if schema.get("type") == "array":
            return f"list of {self.kind(schema.get('items', {}))}"
        if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
            return f"object of {self.kind(schema['additionalProperties'])}"
        return " ".join([str(schema.get("type", "any")), *_bounds(schema)])

    def rows(self, schema: Json) -> list[tuple[str, str, bool, str]]:
        """(name, type, whether it is always there, description) of each property."""
        required = set(schema.get("required", ()))
        return [
            (name, self.kind(each), name in required, str(each.get("description", "")))
            for name, each in schema.get("properties", {}).items()
        ]


_BOUNDS = {
    "minimum": "≥ {}",
    "maximum": "≤ {}",
    "exclusiveMinimum": "> {}",
    "maxLength": "up to {} characters",
    "maxItems": "up to {}",
    "pattern": "matching {}",
    "format": "({})",
}


def _bounds(schema: Json) -> Iterator[str]:
    for keyword, words in _BOUNDS.items():
        if keyword in schema:
            yield words.format(schema[keyword])
