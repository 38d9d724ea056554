"""Projects over the API: what is theirs is built in them alone, with their own logins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import argon2
import pytest
from flask.testing import FlaskClient

from api import create_app
from builder_framework.domain.access import Role
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from builder_framework.store.projects import SqlProjects
from builder_framework.store.sql import SqlStore
from builder_framework.store.tokens import SqlTokens
from builder_framework.users import UserFile
from tests.sealing import SEALER
from tests.unit.builds_double import PASSWORD, MemoryBuilds

pytest_plugins = ("tests.unit.conftest_api",)

ROOT, ANN, BOB, EVE = (
    ("root", PASSWORD),
    ("ann", PASSWORD),
    ("bob", PASSWORD),
    ("eve", PASSWORD),
)
SHOP = "/api/v1/projects/shop"
BUILDS = "/api/v1/builds"
CANARY = "canary-of-a-project"
BODY: dict[str, Any] = {
    "source": {"git": {"url": "https://git.example.org/shop/web.git"}},
    "images": ["r.example.org/shop/web:1"],
}


@pytest.fixture
def http(builds: MemoryBuilds, tmp_path: Path) -> Iterator[FlaskClient]:
    """`shop` exists; ann administers it, bob builds in it, eve is nobody."""
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    users = UserFile(tmp_path / "users", hasher=hasher)
    users.add("root", Secret(PASSWORD), Role.ADMIN)
    for name in ("ann", "bob", "eve"):
        users.add(name, Secret(PASSWORD), Role.NONE)
    store = SqlStore(f"sqlite:///{tmp_path / 'builder.db'}", SEALER)
    people = People(users, SqlProjects(store, SEALER), SqlTokens(store))
    http = create_app(builds, people, RequestPolicy()).test_client()
    spec = {
        "description": "What is sold",
        "repositories": ["https://git.example.org/shop/"],
        "images": ["r.example.org/shop"],
        "quota": {"max_mem": 4096, "max_waiting": 2},
    }
    assert http.put(SHOP, json=spec, auth=ROOT).status_code == 201
    for name, role in (("ann", "admin"), ("bob", "builder")):
        path = f"{SHOP}/members/{name}"
        assert http.put(path, json={"role": role}, auth=ROOT).status_code == 204
    yield http
    store.close()


def submit(http: FlaskClient, auth: tuple[str, str] = BOB, **fields: Any) -> Any:
    return http.post(BUILDS, json={**BODY, **fields}, auth=auth)


def fields_of(answer: Any) -> set[str]:
    assert answer.status_code == 400, answer.text
    return {problem["field"] for problem in answer.json["errors"]}


def test_a_build_is_its_projects(http: FlaskClient, builds: MemoryBuilds) -> None:
    """Said or not, where the repository tells; and whoever is not in it sees nothing of it."""
    answer = submit(http)
    assert answer.json["project"] == "shop"
    build_id = answer.json["id"]
    assert builds.get(build_id).build.request.project == "shop"
    for auth, seen in ((ROOT, 1), (ANN, 1), (BOB, 1)):
        listed = http.get(f"{BUILDS}?project=shop", auth=auth).json
        assert len((listed or {})["builds"]) == seen
    assert http.get(BUILDS, auth=EVE).status_code == 403
    assert http.get(f"{BUILDS}/{build_id}", auth=EVE).status_code == 404


def test_whoever_is_not_in_it_builds_nothing_of_it(http: FlaskClient) -> None:
    assert submit(http, EVE).status_code == 403
    assert fields_of(submit(http, ROOT, project="nothing")) == {
        "project",
        "source.git.url",
        "images.0",
    }
    outside = {"source": {"git": {"url": "https://x.org/y"}}, "images": ["x.org/y"]}
    assert fields_of(submit(http, BOB, **outside)) == {"project"}
    assert submit(http, ROOT, **outside).status_code == 202


def test_credentials_are_used_and_never_shown(http: FlaskClient, builds: MemoryBuilds) -> None:
    kept = {
        "hub": {
            "registry": {"registry": "r.example.org", "username": "ci", "password": CANARY + "1"}
        },
        "git": {"git": {"host": "git.example.org", "username": "ci", "password": CANARY + "2"}},
        "npm": {"secret": CANARY + "3"},
    }
    for name, body in kept.items():
        assert http.put(f"{SHOP}/credentials/{name}", json=body, auth=ANN).status_code == 204
    listed = http.get(f"{SHOP}/credentials", auth=BOB)
    assert {each["name"]: each["kind"] for each in (listed.json or {})["credentials"]} == {
        "git": "git",
        "hub": "registry",
        "npm": "secret",
    }
    answer = submit(http, project_secrets={"token": "npm"})
    request = builds.get(answer.json["id"]).build.request
    push = request.logins().to_push("r.example.org")
    assert push is not None
    assert push.password.reveal() == CANARY + "1"
    assert request.source.git is not None
    (login,) = request.source.git.logins
    assert login.password == Secret(CANARY + "2")
    assert request.recipe.secrets == {"token": Secret(CANARY + "3")}
    for text in (listed.text, answer.text, http.get(BUILDS, auth=BOB).text):
        assert CANARY not in text
    assert fields_of(submit(http, project_secrets={"token": "missing"})) == {
        "project_secrets.token"
    }
    assert http.delete(f"{SHOP}/credentials/npm", auth=ANN).status_code == 204
    assert fields_of(submit(http, project_secrets={"token": "npm"})) == {"project_secrets.token"}


def test_limits_are_told_with_their_field(http: FlaskClient) -> None:
    assert fields_of(submit(http, resources={"mem": 8192})) == {"resources.mem"}


def test_an_answer_that_got_lost_is_had_again(http: FlaskClient) -> None:
    """Also when the project has no room any more: that build is accepted."""
    key = {"Idempotency-Key": "k"}
    first = http.post(BUILDS, json=BODY, auth=BOB, headers=key)
    assert first.status_code == 202
    http.put(f"{SHOP}/members/bob", json={"role": "viewer"}, auth=ANN)
    http.put(f"{SHOP}/members/bob", json={"role": "builder"}, auth=ANN)
    http.put(SHOP, json={"quota": {"max_mem": 1}}, auth=ROOT)
    again = http.post(BUILDS, json=BODY, auth=BOB, headers=key)
    assert again.status_code == 202
    assert (again.json or {})["id"] == (first.json or {})["id"]
    assert fields_of(submit(http, project="shop")) == {"resources.mem"}


def test_what_a_project_administrator_may(http: FlaskClient) -> None:
    """Members and credentials, not the limits."""
    assert http.put(f"{SHOP}/members/eve", json={"role": "viewer"}, auth=ANN).status_code == 204
    assert http.get(BUILDS, auth=EVE).status_code == 200
    assert http.delete(f"{SHOP}/members/eve", auth=ANN).status_code == 204
    assert http.get(BUILDS, auth=EVE).status_code == 403
    assert http.put(SHOP, json={}, auth=ANN).status_code == 403
    assert http.put(f"{SHOP}/members/eve", json={"role": "viewer"}, auth=BOB).status_code == 403


def test_a_project_is_told_to_its_members(http: FlaskClient) -> None:
    shown = http.get(SHOP, auth=BOB).json or {}
    assert shown["members"] == {"ann": "admin", "bob": "builder"}
    assert shown["quota"]["max_mem"] == 4096
    listed = {auth: (http.get("/api/v1/projects", auth=auth).json or {}) for auth in (BOB, EVE)}
    assert [each["name"] for each in listed[BOB]["projects"]] == ["shop"]
    assert listed[EVE]["projects"] == []
    assert http.delete(SHOP, auth=ROOT).status_code == 204
    assert http.get(SHOP, auth=ROOT).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (SHOP, {"repositories": ["git.example.org"]}, "repositories.0"),
        (SHOP, {"images": ["R.example.org/x y"]}, "images.0"),
        (SHOP, {"quota": {"max_mem": -1}}, "quota.max_mem"),
        (SHOP, {"quota": {"max_ram": 1}}, "quota.max_ram"),
        (f"{SHOP}/members/bob", {"role": "none"}, "role"),
        (f"{SHOP}/credentials/x", {}, "secret"),
        (f"{SHOP}/credentials/x", {"secret": ""}, "secret"),
        (
            f"{SHOP}/credentials/x",
            {"secret": "v", "git": {"host": "h.org", "username": "u", "password": "p"}},
            "secret",
        ),
        (f"{SHOP}/credentials/-x", {"secret": "v"}, "name"),
    ],
)
def test_bad_input_names_the_field(
    http: FlaskClient, path: str, body: dict[str, Any], field: str
) -> None:
    assert fields_of(http.put(path, json=body, auth=ROOT)) == {field}


def test_names_that_no_project_may_have(http: FlaskClient) -> None:
    for name in ("Shop", "-x", "a_b", "x" * 64, "..", "%0a"):
        assert http.put(f"/api/v1/projects/{name}", json={}, auth=ROOT).status_code == 404
