"""Tokens stand for a user, and never for more than he is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import argon2
import pytest
from flask.testing import FlaskClient

from api import create_app
from builder_framework import people as people_module
from builder_framework.domain.access import Role
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from builder_framework.store.sql import SqlStore
from builder_framework.store.tokens import SqlTokens
from builder_framework.users import UserFile
from tests.sealing import SEALER
from tests.unit.builds_double import BODY, PASSWORD, MemoryBuilds

pytest_plugins = ("tests.unit.conftest_api",)

TOKENS = "/api/v1/tokens"
ANN, BOB, ROOT = (("ann", PASSWORD), ("bob", PASSWORD), ("root", PASSWORD))


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def users(tmp_path: Path) -> UserFile:
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    file = UserFile(tmp_path / "users", hasher=hasher)
    for name, role in (("ann", Role.OPERATOR), ("bob", Role.BUILDER), ("root", Role.ADMIN)):
        file.add(name, Secret(PASSWORD), role)
    return file


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{tmp_path / 'builder.db'}", SEALER)
    yield store
    store.close()


@pytest.fixture
def http(builds: MemoryBuilds, users: UserFile, store: SqlStore, clock: Clock) -> FlaskClient:
    people = People(users, tokens=SqlTokens(store), clock=clock)
    return create_app(builds, people, RequestPolicy()).test_client()


def make(http: FlaskClient, auth: tuple[str, str] = ANN, **fields: Any) -> dict[str, Any]:
    answer = http.post(TOKENS, json={"name": "ci", **fields}, auth=auth)
    assert answer.status_code == 201, answer.text
    assert answer.json is not None
    found: dict[str, Any] = answer.json
    return found


def bearer(token: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {token['token']}"}


def whoami(http: FlaskClient, token: dict[str, Any]) -> Any:
    return http.get("/api/v1/whoami", headers=bearer(token))


def test_a_token_is_its_owner_with_less(http: FlaskClient) -> None:
    """As a bearer, or where only a name and a password fit, in the password's place."""
    token = make(http)
    assert whoami(http, token).json == {"name": "ann", "role": "builder", "projects": {}}
    for auth in (None, ("ann", token["token"])):
        headers = bearer(token) if auth is None else {}
        answer = http.post("/api/v1/builds", json=BODY, headers=headers, auth=auth)
        assert answer.status_code == 202
        assert answer.json is not None
        assert answer.json["owner"] == "ann"
    assert http.get("/api/v1/whoami", auth=("bob", token["token"])).status_code == 401


@pytest.mark.parametrize("damage", [lambda t: t[:-1] + "!", lambda t: t[:-4] + "AAAA", str.upper])
def test_what_is_no_token_opens_nothing(http: FlaskClient, damage: Any) -> None:
    token = make(http)
    assert whoami(http, {"token": damage(token["token"])}).status_code == 401


def test_nobody_is_told_its_text_again(http: FlaskClient, store: SqlStore, tmp_path: Path) -> None:
    """Not even the database knows it."""
    token = make(http)
    secret = token["token"].removeprefix(f"bft_{token['id']}_")
    assert secret not in http.get(TOKENS, auth=ANN).text
    store.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("builder.db*"))
    assert token["id"].encode() in kept
    assert secret.encode() not in kept


def test_a_revoked_token_is_out_at_once(http: FlaskClient) -> None:
    token = make(http)
    assert whoami(http, token).status_code == 200
    assert http.delete(f"{TOKENS}/{token['id']}", auth=ANN).status_code == 204
    assert whoami(http, token).status_code == 401
    assert http.delete(f"{TOKENS}/{token['id']}", auth=ANN).status_code == 404
    assert http.delete(f"{TOKENS}/nonsense", auth=ANN).status_code == 404


def test_its_time_comes(http: FlaskClient, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.tokens.time.time", clock)
    token = make(http, expires_in_days=1)
    clock.now += 86_399
    assert whoami(http, token).status_code == 200
    clock.now += 1
    assert whoami(http, token).status_code == 401


def test_it_goes_down_with_its_owner(http: FlaskClient, users: UserFile) -> None:
    token = make(http, role="operator")
    assert whoami(http, token).json["role"] == "operator"
    users.change_role("ann", Role.VIEWER)
    assert whoami(http, token).json["role"] == "viewer"
    users.remove("ann")
    assert whoami(http, token).status_code == 401


def test_a_token_that_would_give_more_is_refused(http: FlaskClient) -> None:
    answer = http.post(TOKENS, json={"name": "x", "role": "operator"}, auth=BOB)
    assert answer.status_code == 403
    assert answer.json is not None
    assert answer.json["detail"] == "bob is builder: a token cannot give more"


def test_a_token_makes_no_tokens(http: FlaskClient) -> None:
    token = make(http, ROOT, role="admin")
    answer = http.post(TOKENS, json={"name": "x"}, headers=bearer(token))
    assert answer.status_code == 403
    assert answer.json is not None
    assert answer.json["code"] == "password_needed"


def test_everybody_has_his_own(http: FlaskClient) -> None:
    """An admin sees and revokes all."""
    anns, bobs = make(http), make(http, BOB)
    listed = {
        auth: {token["id"] for token in (http.get(TOKENS, auth=auth).json or {})["tokens"]}
        for auth in (ANN, BOB, ROOT)
    }
    assert listed == {ANN: {anns["id"]}, BOB: {bobs["id"]}, ROOT: {anns["id"], bobs["id"]}}
    assert http.delete(f"{TOKENS}/{anns['id']}", auth=BOB).status_code == 404
    assert whoami(http, anns).status_code == 200
    assert http.delete(f"{TOKENS}/{anns['id']}", auth=ROOT).status_code == 204


def test_two_of_one_name_would_be_mixed_up(http: FlaskClient) -> None:
    make(http)
    answer = http.post(TOKENS, json={"name": "ci"}, auth=ANN)
    assert answer.status_code == 409
    assert "revoke it first" in answer.text


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x", "role": "king"}, "role"),
        ({"name": "x", "expires_in_days": 0}, "expires_in_days"),
        ({"name": "x", "expires": 3}, "expires"),
    ],
)
def test_bad_input_names_the_field(http: FlaskClient, fields: dict[str, Any], field: str) -> None:
    answer = http.post(TOKENS, json=fields, auth=ANN)
    assert answer.status_code == 400
    assert [problem["field"] for problem in (answer.json or {})["errors"]] == [field]


def test_when_it_was_used_is_known_to_the_minute(http: FlaskClient, clock: Clock) -> None:
    """And not written with every request."""
    token = make(http)

    def used() -> str | None:
        (found,) = (http.get(TOKENS, auth=ANN).json or {})["tokens"]
        return found["last_used_at"]  # type: ignore[no-any-return]

    assert used() is None
    whoami(http, token)
    first = used()
    assert first is not None
    clock.now += 59
    whoami(http, token)
    assert used() == first
    clock.now += 1
    whoami(http, token)
    assert used() != first


def test_tokens_can_be_told_from_everything_else(http: FlaskClient) -> None:
    """By scanners that look for secrets in repositories."""
    assert people_module._TOKEN.fullmatch(make(http)["token"])
