"""The matrix of every route, every role, and builds of one's own and of others."""

from __future__ import annotations

import argon2
import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import create_app, schemas
from builder_framework.domain.access import Role
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from builder_framework.users import UserFile
from tests.unit.builds_double import BODY, PASSWORD, MemoryBuilds

pytest_plugins = ("tests.unit.conftest_api",)

EVERYBODY = Role.NONE

BUILD = "/api/v1/builds/<build_id>"

# The least role that a route takes: for a build of one's own, and for somebody else's.
MATRIX: dict[tuple[str, str], tuple[Role, Role]] = {
    ("GET", "/api/v1/whoami"): (EVERYBODY, EVERYBODY),
    ("POST", "/api/v1/builds"): (Role.BUILDER, Role.BUILDER),
    ("GET", "/api/v1/builds"): (Role.VIEWER, Role.VIEWER),
    ("GET", BUILD): (Role.VIEWER, Role.VIEWER),
    ("POST", f"{BUILD}/cancel"): (Role.BUILDER, Role.OPERATOR),
    ("GET", f"{BUILD}/log"): (Role.VIEWER, Role.VIEWER),
    ("GET", f"{BUILD}/log/stream"): (Role.VIEWER, Role.VIEWER),
    ("GET", f"{BUILD}/deliveries"): (Role.VIEWER, Role.VIEWER),
    ("POST", f"{BUILD}/deliveries/<delivery_id>/redeliver"): (Role.BUILDER, Role.OPERATOR),
}
OPEN = {"/healthz", "/readyz", "/api/v1/version"}


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> UserFile:
    """One of each role, named like it; and `other`."""
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    file = UserFile(tmp_path_factory.mktemp("users") / "users", hasher=hasher)
    for role in Role:
        file.add(role.value, Secret(PASSWORD), role)
    file.add("other", Secret(PASSWORD), Role.OPERATOR)
    return file


@pytest.fixture
def app(builds: MemoryBuilds, users: UserFile) -> Flask:
    return create_app(builds, People(users), RequestPolicy(), keepalive=0.05)


def routes(app: Flask) -> set[tuple[str, str]]:
    return {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS") and rule.rule not in OPEN
    }


def test_every_route_has_an_entry(app: Flask) -> None:
    """A new one fails here until somebody has decided who may use it."""
    assert routes(app) == set(MATRIX)


def submitted(builds: MemoryBuilds, owner: str) -> str:
    """A build of his, over, so that what follows it ends."""
    request = schemas.parse_build(BODY, RequestPolicy()).to_request(RequestPolicy())
    view, _ = builds.submit(request, owner)
    builds.cancel(view.build.id, owner)
    return view.build.id


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("own", [True, False])
def test_who_may(http: FlaskClient, builds: MemoryBuilds, role: Role, own: bool) -> None:
    """403 with a sentence; and not even a 403 for whom there is no such build."""
    for (method, rule), least in MATRIX.items():
        build_id = submitted(builds, role.value if own else "other")
        path = rule.replace("<build_id>", build_id).replace("<delivery_id>", "msg_1")
        json = BODY if (method, rule) == ("POST", "/api/v1/builds") else None
        answer = http.open(path, method=method, auth=(role.value, PASSWORD), json=json)
        answer.get_data()
        case = f"{method} {rule}"
        if role.covers(least[0 if own else 1]):
            assert answer.status_code not in (401, 403), case
            if "redeliver" not in rule:
                assert answer.status_code != 404, case
        elif role is Role.NONE and "<build_id>" in rule:
            unknown = http.open(
                path.replace(build_id, "0" * 16), method=method, auth=(role.value, PASSWORD)
            )
            assert answer.status_code == unknown.status_code == 404, case
            assert answer.json is not None
            assert unknown.json is not None
            assert answer.json["detail"].replace(build_id, "0" * 16) == unknown.json["detail"]
        else:
            assert answer.status_code == 403, case
            assert answer.json is not None
            assert answer.json["code"] == "forbidden"
            assert f"{role.value} is {role.value}, which does not allow" in answer.json["detail"]


def test_a_route_that_says_nothing_is_closed(app: Flask, http: FlaskClient) -> None:
    app.add_url_rule("/api/v1/new", view_func=lambda: "secret")
    answer = http.get("/api/v1/new", auth=("admin", PASSWORD))
    assert answer.status_code == 403
    assert b"secret" not in answer.data


def test_a_role_that_was_taken_away_is_gone_at_once(http: FlaskClient, users: UserFile) -> None:
    users.add("eve", Secret(PASSWORD), Role.BUILDER)
    assert http.post("/api/v1/builds", auth=("eve", PASSWORD), json=BODY).status_code == 202
    users.change_role("eve", Role.VIEWER)
    assert http.post("/api/v1/builds", auth=("eve", PASSWORD), json=BODY).status_code == 403


def test_who_am_i(http: FlaskClient) -> None:
    answer = http.get("/api/v1/whoami", auth=("builder", PASSWORD))
    assert answer.json == {"name": "builder", "role": "builder", "projects": {}}
