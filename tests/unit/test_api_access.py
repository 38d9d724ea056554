"""The matrix of every route, every role, and builds of one's own and of others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import argon2
import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import create_app, schemas
from builder_framework.audit import Entry, Query
from builder_framework.domain.access import Role
from builder_framework.domain.hooks import Hooks
from builder_framework.domain.projects import Project
from builder_framework.instruments import Instruments
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from builder_framework.service.measures import Exposition
from builder_framework.service.scheduling import Switch
from builder_framework.store.measures import SqlMeasures
from builder_framework.store.projects import SqlProjects
from builder_framework.store.scheduling import SqlScheduling
from builder_framework.store.sql import SqlStore
from builder_framework.store.tokens import SqlTokens
from builder_framework.users import UserFile
from tests.sealing import SEALER
from tests.unit.builds_double import BODY, PASSWORD, MemoryBuilds

pytest_plugins = ("tests.unit.conftest_api",)

EVERYBODY = Role.NONE

BUILD = "/api/v1/builds/<build_id>"
PROJECT = "/api/v1/projects/<project>"

# The least role that a route takes: for a build of one's own, and for somebody else's.
MATRIX: dict[tuple[str, str], tuple[Role, Role]] = {
    ("GET", "/metrics"): (Role.VIEWER, Role.VIEWER),
    ("GET", "/api/v1/audit"): (Role.OPERATOR, Role.OPERATOR),
    ("GET", "/api/v1/scheduler"): (Role.VIEWER, Role.VIEWER),
    ("POST", "/api/v1/scheduler/<verb>"): (Role.OPERATOR, Role.OPERATOR),
    ("GET", "/openapi.json"): (EVERYBODY, EVERYBODY),
    ("GET", "/docs"): (EVERYBODY, EVERYBODY),
    ("GET", "/docs/style.css"): (EVERYBODY, EVERYBODY),
    ("GET", "/api/v1/whoami"): (EVERYBODY, EVERYBODY),
    # With the least role that a token may have.
    ("POST", "/api/v1/tokens"): (Role.VIEWER, Role.VIEWER),
    ("GET", "/api/v1/tokens"): (EVERYBODY, EVERYBODY),
    ("DELETE", "/api/v1/tokens/<token_id>"): (EVERYBODY, EVERYBODY),
    ("GET", "/api/v1/projects"): (EVERYBODY, EVERYBODY),
    ("PUT", PROJECT): (Role.ADMIN, Role.ADMIN),
    ("DELETE", PROJECT): (Role.ADMIN, Role.ADMIN),
    ("GET", PROJECT): (Role.VIEWER, Role.VIEWER),
    ("PUT", f"{PROJECT}/members/<user>"): (Role.ADMIN, Role.ADMIN),
    ("DELETE", f"{PROJECT}/members/<user>"): (Role.ADMIN, Role.ADMIN),
    ("GET", f"{PROJECT}/credentials"): (Role.VIEWER, Role.VIEWER),
    ("PUT", f"{PROJECT}/credentials/<name>"): (Role.ADMIN, Role.ADMIN),
    ("DELETE", f"{PROJECT}/credentials/<name>"): (Role.ADMIN, Role.ADMIN),
    ("GET", "/api/v1/queue"): (Role.VIEWER, Role.VIEWER),
    ("GET", "/api/v1/agents"): (Role.VIEWER, Role.VIEWER),
    ("POST", "/api/v1/builds"): (Role.BUILDER, Role.BUILDER),
    ("GET", "/api/v1/builds"): (Role.VIEWER, Role.VIEWER),
    ("GET", BUILD): (Role.VIEWER, Role.VIEWER),
    ("POST", f"{BUILD}/cancel"): (Role.BUILDER, Role.OPERATOR),
    ("POST", f"{BUILD}/rebuild"): (Role.BUILDER, Role.OPERATOR),
    ("GET", f"{BUILD}/log"): (Role.VIEWER, Role.VIEWER),
    ("GET", f"{BUILD}/log/stream"): (Role.VIEWER, Role.VIEWER),
    ("GET", f"{BUILD}/deliveries"): (Role.VIEWER, Role.VIEWER),
    ("POST", f"{BUILD}/deliveries/<delivery_id>/redeliver"): (Role.BUILDER, Role.OPERATOR),
}
# Everybody may ask for the first three; a hook has a secret of its own (test_hooks.py).
OPEN = {"/healthz", "/readyz", "/api/v1/version", "/hooks/<hook>"}


BODIES: dict[tuple[str, str], object] = {
    ("POST", "/api/v1/builds"): BODY,
    ("POST", "/api/v1/tokens"): {"name": "ci", "role": "viewer"},
    ("PUT", PROJECT): {},
    ("PUT", f"{PROJECT}/members/<user>"): {"role": "viewer"},
    ("PUT", f"{PROJECT}/credentials/<name>"): {"secret": "value"},
}


class Forgets:
    """A trail without a database: what is in it is not the point here."""

    def record(self, entry: Entry) -> None:
        del entry

    def page(self, query: Query) -> tuple[list[Entry], int | None]:
        del query
        return [], None


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> UserFile:
    """One of each role, named like it; one of each role in project `shop` alone; and `other`."""
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    file = UserFile(tmp_path_factory.mktemp("users") / "users", hasher=hasher)
    for role in Role:
        file.add(role.value, Secret(PASSWORD), role)
        file.add(f"shop-{role.value}", Secret(PASSWORD), Role.NONE)
    file.add("other", Secret(PASSWORD), Role.OPERATOR)
    return file


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{tmp_path_factory.mktemp('store') / 'builder.db'}", SEALER)
    yield store
    store.close()


@pytest.fixture
def projects(store: SqlStore) -> SqlProjects:
    projects = SqlProjects(store, SEALER)
    projects.put(Project("shop"))
    projects.put(Project("lab"))
    for role in Role:
        projects.put_member("shop", f"shop-{role.value}", role)
    return projects


@pytest.fixture
def app(builds: MemoryBuilds, users: UserFile, store: SqlStore, projects: SqlProjects) -> Flask:
    people = People(users, projects, SqlTokens(store))
    measures = Instruments()
    trail = Forgets()
    return create_app(
        builds,
        people,
        RequestPolicy(),
        keepalive=0.05,
        instruments=measures,
        exposition=Exposition(measures, SqlMeasures(store.reading)),
        trail=trail,
        switch=Switch(SqlScheduling(store)),
        hooks=Hooks(),
    )


def is_page(rule: str) -> bool:
    """Of the web page, which has a matrix of its own (test_web_access)."""
    return rule == "/" or rule.startswith("/ui")


def routes(app: Flask) -> set[tuple[str, str]]:
    return {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS") and rule.rule not in OPEN and not is_page(rule.rule)
    }


def test_every_route_has_an_entry(app: Flask) -> None:
    """A new one fails here until somebody has decided who may use it."""
    assert routes(app) == set(MATRIX)


def submitted(builds: MemoryBuilds, owner: str, project: str | None) -> str:
    """A build of his, over, so that what follows it ends."""
    request = schemas.parse_build(BODY, RequestPolicy()).to_request(RequestPolicy())
    view, _ = builds.submit(replace(request, project=project), owner)
    builds.cancel(view.build.id, owner)
    return view.build.id


class Asked:
    """One request of one user."""

    def __init__(self, http: FlaskClient, route: tuple[str, str], user: str, **names: str) -> None:
        method, path = route
        others = {"delivery_id": "msg_1", "user": "x", "name": "x", "verb": "resume"}
        for name, value in {**others, **names}.items():
            path = path.replace(f"<{name}>", value)
        path = path.replace("<token_id>", "0" * 16)
        answer = http.open(path, method=method, auth=(user, PASSWORD), json=BODIES.get(route))
        answer.get_data()
        self.status = answer.status_code
        self.told = (answer.json or {}) if answer.is_json or answer.status_code >= 400 else {}

    @property
    def passed(self) -> bool:
        """Whether the caller's role was enough; what came of it is not the point here."""
        return self.status not in (401, 403) and self.told.get("code") != "not_found"


NOT_THERE = {("DELETE", "/api/v1/tokens/<token_id>")} | {
    route for route in MATRIX if "redeliver" in route[1] or route[0] == "DELETE"
}
"""Routes whose last part is not there, whoever asks."""


def least(route: tuple[str, str], *, own: bool) -> Role:
    return MATRIX[route][0 if own else 1]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("own", [True, False])
def test_by_role_everywhere(
    http: FlaskClient, builds: MemoryBuilds, projects: SqlProjects, role: Role, own: bool
) -> None:
    """In a project or not: 403 with a sentence; for whom there is no such thing, not even that."""
    user = role.value
    for route in MATRIX:
        for project in (None, "lab"):
            projects.put(Project("lab"))
            names = {"project": "lab"}
            if "<build_id>" in route[1]:
                names["build_id"] = submitted(builds, user if own else "other", project)
            asked = Asked(http, route, user, **names)
            case = (*route, project)
            if role.covers(least(route, own=own)):
                assert asked.passed or route in NOT_THERE, case
            elif role is Role.NONE and ("<build_id>" in route[1] or "<project>" in route[1]):
                hidden(asked, http, route, user, names)
            else:
                assert asked.status == 403, case
                assert asked.told["detail"].startswith(f"{user} is {user}")


def hidden(
    asked: Asked, http: FlaskClient, route: tuple[str, str], user: str, names: dict[str, str]
) -> None:
    """The answer is the one for what is not there."""
    missing = {"build_id": "0" * 16, "project": "nothing"}
    unknown = Asked(http, route, user, **missing)
    if "<build_id>" not in route[1] and MATRIX[route][0] is Role.ADMIN and route[1] == PROJECT:
        assert asked.status == unknown.status == 403, route
        return
    assert asked.status == unknown.status == 404, route
    words = asked.told["detail"]
    for name, value in names.items():
        words = words.replace(repr(value), repr(missing[name]))
    assert words == unknown.told["detail"]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("own", [True, False])
def test_by_role_in_a_project(
    http: FlaskClient, builds: MemoryBuilds, role: Role, own: bool
) -> None:
    """Nobody elsewhere: what is in another project, or in none, is not there for him."""
    user = f"shop-{role.value}"
    for route in MATRIX:
        if "<build_id>" not in route[1] and "<project>" not in route[1]:
            continue
        for project in ("shop", "lab", None):
            names = {"project": project or "lab"}
            if "<build_id>" in route[1]:
                names["build_id"] = submitted(builds, user if own else "other", project)
            asked = Asked(http, route, user, **names)
            case = (*route, project)
            if route[1] == PROJECT and route[0] != "GET":
                assert asked.status == 403, case
            elif project != "shop" or role is Role.NONE:
                assert asked.status == 404, case
            elif role.covers(least(route, own=own)):
                assert asked.passed or route in NOT_THERE, case
            else:
                assert asked.status == 403, case


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
