"""The OpenAPI document: whole, valid, and what the API really does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from api import create_app, openapi
from api.described import outside
from builder_framework import __version__
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from builder_framework.store.projects import SqlProjects
from builder_framework.store.sql import SqlStore
from builder_framework.store.tokens import SqlTokens
from builder_framework.store.uploads import SqlUploads
from builder_framework.users import SingleUser
from tests.sealing import SEALER
from tests.unit.builds_double import AUTH, PASSWORD, USER, MemoryBuilds

pytest_plugins = ("tests.unit.conftest_api",)

OPERATIONS = {
    "cancelBuild",
    "createToken",
    "fetchUpload",
    "getBuild",
    "getDocument",
    "getLog",
    "getProject",
    "getVersion",
    "isAlive",
    "isReady",
    "listAgents",
    "listBuilds",
    "listCredentials",
    "listDeliveries",
    "listProjects",
    "listQueue",
    "listTokens",
    "putCredential",
    "putMember",
    "putProject",
    "rebuild",
    "redeliver",
    "removeCredential",
    "removeMember",
    "removeProject",
    "revokeToken",
    "streamLog",
    "submitBuild",
    "whoAmI",
}
"""Clients are generated from these names: they are added, never changed."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """With every part that there is."""
    store = SqlStore(f"sqlite:///{tmp_path_factory.mktemp('store') / 'builder.db'}", SEALER)
    store.lead("test", None)
    people = People(
        SingleUser(USER, Secret(PASSWORD)), SqlProjects(store, SEALER), SqlTokens(store)
    )
    yield create_app(MemoryBuilds(), people, RequestPolicy(), SqlUploads(store))
    store.close()


@pytest.fixture
def document(http: FlaskClient) -> openapi.Json:
    found: openapi.Json = http.get("/openapi.json", auth=AUTH).get_json()
    return found


def operations(document: openapi.Json) -> Iterator[tuple[str, str, openapi.Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_it_is_valid(document: openapi.Json) -> None:
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"] == "3.1.1"
    assert document["info"]["version"] == __version__


def test_it_has_every_route_and_no_other(app: Flask, document: openapi.Json) -> None:
    routes = {
        (method, re.sub(r"<([^<>]+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS")
        and not getattr(app.view_functions[rule.endpoint], "outside", False)
    }
    assert routes == {(method, path) for method, path, _ in operations(document)}


def test_the_names_of_calls_stay(document: openapi.Json) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert sorted(names) == sorted(OPERATIONS)


def test_a_route_that_says_nothing_is_noticed(http: FlaskClient) -> None:
    app = Flask("new")
    app.add_url_rule("/new", view_func=lambda: "")
    with pytest.raises(TypeError, match="needs @describes or @outside"):
        openapi.document(app, "1")
    app = Flask("new", static_folder=None)
    app.add_url_rule("/new", "new", outside(lambda: ""))
    assert openapi.document(app, "1")["paths"] == {}


def test_each_operation_says_what_it_does_and_every_parameter(document: openapi.Json) -> None:
    for method, path, operation in operations(document):
        assert operation["summary"], path
        named = {x["name"] for x in operation.get("parameters", ()) if x["in"] == "path"}
        assert named == set(re.findall(r"{([^}]+)}", path))
        assert ("requestBody" in operation) is (method in ("POST", "PUT"))


def test_what_needs_a_login_says_so(document: openapi.Json, http: FlaskClient) -> None:
    for method, path, operation in operations(document):
        answer = http.open(path.replace("{", "").replace("}", ""), method=method)
        closed = "security" not in operation
        assert (answer.status_code == 401) is closed, path
        assert ("401" in operation["responses"]) is closed, path


def test_examples_of_bodies_are_what_the_api_takes(
    document: openapi.Json, http: FlaskClient
) -> None:
    for method, path, operation in operations(document):
        names = {x["name"]: x.get("example", "") for x in operation.get("parameters", ())}
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body is None or "delivery_id" in names:
            continue
        if "project" in names:
            http.put(f"/api/v1/projects/{names['project']}", auth=AUTH, json={})
        answer = http.open(path.format(**names), method=method, auth=AUTH, json=body["example"])
        assert answer.status_code in (200, 201, 202, 204, 404), (path, answer.text)


def test_the_body_of_a_submission_is_described_field_by_field(document: openapi.Json) -> None:
    schemas = document["components"]["schemas"]
    body = schemas["BuildBody"]
    assert set(body["required"]) == {"source", "images"}
    assert body["additionalProperties"] is False
    assert body["properties"]["priority"]["maximum"] == 1000
    assert set(schemas["SourceBody"]["properties"]) == {"git", "tarball", "inline"}
    assert set(body["properties"]) - set(schemas["Build"]["properties"]) == set()


def test_states_and_reasons_are_listed(document: openapi.Json) -> None:
    build = document["components"]["schemas"]["Build"]["properties"]
    assert "SUCCEEDED" in json.dumps(build["state"])
    assert "git_auth_failed" in json.dumps(build["reason"])


class Page(HTMLParser):
    """What a page loads and links to, its ids and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        told = dict(attrs)
        assert not {"style", "onclick", "onload"} & told.keys()
        if found := told.get("id"):
            assert found not in self.ids
            self.ids.add(found)
        self.links |= {value for name in ("href", "src") if (value := told.get(name))}

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_shows_all_of_it_and_needs_nobody_else(
    document: openapi.Json, http: FlaskClient
) -> None:
    answer = http.get("/docs", auth=AUTH)
    assert answer.content_type == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    page = Page(answer.get_data(as_text=True))
    assert {operation["operationId"] for _, _, operation in operations(document)} <= page.ids
    assert set(document["components"]["schemas"]) <= page.ids
    assert not {"script", "style", "img", "iframe"} & set(page.tags)
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    for link in {link for link in page.links if not link.startswith("#")}:
        assert link.startswith("/")
        assert http.get(link, auth=AUTH).status_code == 200
    assert "Idempotency-Key" in page.words
    assert http.get("/docs").status_code == 401
