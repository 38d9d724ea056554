"""Nothing but the three open endpoints answers without a user and password."""

from __future__ import annotations

import base64
from pathlib import Path

import argon2
import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import brake, create_app
from builder_framework.domain.access import Role
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from builder_framework.users import UserFile
from tests.unit.builds_double import AUTH, PASSWORD, USER, MemoryBuilds

pytest_plugins = ("tests.unit.conftest_api",)

OPEN = {"/healthz", "/readyz", "/api/v1/version"}


def basic(raw: bytes) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(raw).decode()}"}


def test_every_route_but_three_needs_a_password(app: Flask, http: FlaskClient) -> None:
    """Goes through the router's table, so that a new route without authentication fails here."""
    # Pages lead strangers to a form (test_web_access).
    pages = ("/", "/ui")
    rules = [x for x in app.url_map.iter_rules() if x.rule not in pages and x.rule[:4] != "/ui/"]
    assert {rule.rule for rule in rules} >= OPEN
    for rule in rules:
        path = rule.rule.replace("<build_id>", "0" * 16).replace("<delivery_id>", "msg_1")
        assert "<" not in path, "teach this test the new route's variable"
        for method in {*(rule.methods or ()), "GET", "OPTIONS", "TRACE", "PUT"}:
            expected_open = rule.rule in OPEN and method in ("GET", "HEAD")
            status = http.open(path, method=method).status_code
            # An open route with another method is a 405, which says nothing about builds.
            open_route = rule.rule in OPEN and method != "OPTIONS" and status == 405
            assert (status == 200) if expected_open else (status == 401 or open_route), (
                method,
                path,
            )


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/builds/", "/api/v2/builds", "/static/x"])
def test_unknown_routes_need_a_password_too(http: FlaskClient, path: str) -> None:
    """What exists is nobody's business before login."""
    assert http.get(path).status_code == 401
    assert http.get(path, auth=AUTH).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Basic"},
        {"Authorization": "Basic ???"},
        {"Authorization": "Bearer abc"},
        {"Authorization": "Bearer " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()},
        basic(b""),
        basic(b":"),
        basic(USER.encode()),
        basic(f"{USER}:".encode()),
        basic(f"{USER}:{PASSWORD}x".encode()),
        basic(f"nobody:{PASSWORD}".encode()),
        basic(f"{USER}\0:{PASSWORD}".encode()),
        basic(b"\xff\xfe:\xff"),
    ],
)
def test_the_same_401_whatever_is_wrong(http: FlaskClient, headers: dict[str, str]) -> None:
    """problem+json with the challenge; never a 500, never a hint which half was wrong."""
    answer = http.get("/api/v1/builds", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="builder", charset="UTF-8"'
    assert answer.content_type == "application/problem+json"
    assert answer.json == {
        "type": "urn:builder-framework:problem:unauthorized",
        "title": "Unauthorized",
        "status": 401,
        "detail": "this needs a user and a password that the server knows",
        "code": "unauthorized",
    }


def test_a_non_ascii_password_works(http: FlaskClient) -> None:
    """In UTF-8, as the challenge's charset says."""
    assert (
        http.get("/api/v1/builds", headers=basic(f"{USER}:{PASSWORD}".encode())).status_code == 200
    )


def test_a_password_may_have_colons() -> None:
    """RFC 7617: only the first colon separates."""

    class Recorder:
        seen: tuple[str, str] = ("", "")

        def verify(self, name: str, password: str) -> Role | None:
            self.seen = (name, password)
            return Role.VIEWER

        def role_of(self, name: str) -> Role | None:
            raise AssertionError(name)

        def remembers(self, name: str, password: str) -> bool:
            raise AssertionError(name, password)

        def stamp(self, name: str) -> bytes | None:
            raise AssertionError(name)

    users = Recorder()
    http = create_app(MemoryBuilds(), People(users), RequestPolicy()).test_client()
    assert http.get("/api/v1/builds", headers=basic(b"ann:a:b:")).status_code == 200
    assert users.seen == ("ann", "a:b:")


def test_every_answer_is_safe_in_a_browser(http: FlaskClient) -> None:
    """Errors and results alike: not sniffed, not framed, not kept."""
    for path, auth in (("/healthz", None), ("/api/v1/builds", AUTH), ("/x", AUTH), ("/x", None)):
        headers = http.get(path, auth=auth).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_guessing_gets_slow(http: FlaskClient) -> None:
    """429 with the time to wait, also for the right password: an answer would tell."""
    for _ in range(brake.FREE + 1):
        assert http.get("/api/v1/builds", auth=(USER, "wrong")).status_code == 401
    for password in ("wrong", PASSWORD):
        answer = http.get("/api/v1/builds", auth=(USER, password))
        assert answer.status_code == 429
        assert answer.headers["Retry-After"] == "1"
        assert answer.json is not None
        assert answer.json["code"] == "too_many_failures"
    assert http.get("/api/v1/builds", auth=("bob", "x")).status_code == 401, "others do not wait"
    assert http.get("/healthz").status_code == 200


def test_whoever_is_at_work_is_not_locked_out(builds: MemoryBuilds, tmp_path: Path) -> None:
    """Somebody behind the same proxy guesses his password."""
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    users = UserFile(tmp_path / "users", hasher=hasher)
    users.add("ann", Secret("right"))
    http = create_app(builds, People(users), RequestPolicy()).test_client()
    assert http.get("/api/v1/builds", auth=("ann", "right")).status_code == 200
    for _ in range(brake.FREE + 5):
        http.get("/api/v1/builds", auth=("ann", "wrong"))
    assert http.get("/api/v1/builds", auth=("ann", "wrong")).status_code == 429
    assert http.get("/api/v1/builds", auth=("ann", "right")).status_code == 200
