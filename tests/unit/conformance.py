"""Holds every answer that a test gets to what the OpenAPI document says of it."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask, Response, request
from openapi_schema_validator import OAS31Validator

from api import openapi

Json = dict[str, Any]


class Conformance:
    """`faults`: what answers of `app` had that the document does not say, one sentence each."""

    def __init__(self, app: Flask) -> None:
        self.faults: list[str] = []
        self.seen: set[tuple[str, int]] = set()
        # Now, because tests add routes that say nothing of themselves.
        self._document = _document(app)
        # Not by `after_request`, which an app that has answered already does not take.
        self._hooks = app.after_request_funcs.setdefault(None, [])
        self._hooks.append(self._look)

    def end(self) -> None:
        """Look no more."""
        self._hooks.remove(self._look)

    def _look(self, response: Response) -> Response:
        if request.url_rule is None or request.method in ("HEAD", "OPTIONS"):
            return response
        path = re.sub(r"<([^<>]+)>", r"{\1}", request.url_rule.rule)
        operation = self._document["paths"].get(path, {}).get(request.method.lower())
        if operation is not None:
            case = f"{request.method} {path} {response.status_code}"
            self.seen.add((operation["operationId"], response.status_code))
            self.faults += [f"{case}: {fault}" for fault in self._faults(operation, response)]
        return response

    def _faults(self, operation: Json, response: Response) -> list[str]:
        said = operation["responses"].get(str(response.status_code))
        if said is None:
            return ["the status is not in the document"]
        if "$ref" in said:
            said = self._document["components"]["responses"][said["$ref"].rpartition("/")[2]]
        content = said.get("content", {})
        if not content:
            return [] if not response.get_data() else ["a body, where none was said"]
        if response.content_type not in content:
            return [f"{response.content_type}, not {', '.join(content)}"]
        if not response.is_json:
            return []
        schema = {**content[response.content_type]["schema"], "components": self._components}
        found = OAS31Validator(schema).iter_errors(response.get_json())
        return [f"{'.'.join(map(str, each.path))}: {each.message}" for each in found]

    @property
    def _components(self) -> Json:
        closed: Json = self._document["components"]
        return closed


def _document(app: Flask) -> Json:
    """The document of what `app` routes; made once for all apps with the same routes."""
    routes = frozenset(
        (rule.rule, rule.endpoint, *sorted(rule.methods or ())) for rule in app.url_map.iter_rules()
    )
    if routes not in _documents:
        _documents[routes] = _closed(openapi.document(app, "test"))
    return _documents[routes]


_documents: dict[frozenset[tuple[str, ...]], Json] = {}


def _closed(found: Json) -> Json:
    """An answer has no field that the document lacks."""
    for name, schema in found["components"]["schemas"].items():
        if "properties" in schema:
            found["components"]["schemas"][name] = {**schema, "additionalProperties": False}
    return found
