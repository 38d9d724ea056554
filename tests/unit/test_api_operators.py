"""The audit trail and the switch, as operators see them over the API and from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import create_app
from api.audit import MOST_OF_ADDRESS
from builder_framework.audit import Entry
from builder_framework.errors import StoreUnavailableError
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from builder_framework.service.audit import AuditTrail
from builder_framework.service.scheduling import Switch
from builder_framework.store.audit import SqlAudit
from builder_framework.store.projects import SqlProjects
from builder_framework.store.scheduling import SqlScheduling
from builder_framework.store.sql import SqlStore
from builder_framework.store.tokens import SqlTokens
from builder_framework.users import SingleUser
from tests.sealing import SEALER
from tests.unit.builds_double import AUTH, BODY, PASSWORD, USER, MemoryBuilds
from tests.unit.commands import Run

pytest_plugins = ("tests.unit.conftest_cli",)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{tmp_path / 'builder.db'}", SEALER)
    yield store
    store.close()


@pytest.fixture
def trail(store: SqlStore) -> Iterator[AuditTrail]:
    trail = AuditTrail(SqlAudit(store))
    trail.start()
    yield trail
    trail.stop()


@pytest.fixture
def app(builds: MemoryBuilds, store: SqlStore, trail: AuditTrail) -> Flask:
    people = People(
        SingleUser(USER, Secret(PASSWORD)), SqlProjects(store, SEALER), SqlTokens(store)
    )
    return create_app(
        builds, people, RequestPolicy(), trail=trail, switch=Switch(SqlScheduling(store))
    )


def entries(http: FlaskClient, query: str = "") -> list[dict[str, object]]:
    answer = http.get(f"/api/v1/audit{query}", auth=AUTH)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, object]] = (answer.json or {})["entries"]
    return found


def submitted(http: FlaskClient, **options: Any) -> str:
    """The id of a new build."""
    answer = http.post("/api/v1/builds", auth=AUTH, json=BODY, **options)
    assert answer.status_code == 202, answer.text
    build_id: str = (answer.json or {})["id"]
    return build_id


def test_who_did_what_to_which_build_from_where(http: FlaskClient) -> None:
    sent = {"X-Request-Id": "r-1"}
    build_id = submitted(http, headers=sent)
    http.post(f"/api/v1/builds/{build_id}/cancel", auth=AUTH)
    http.post(f"/api/v1/builds/{build_id}/cancel", auth=AUTH)
    http.get(f"/api/v1/builds/{build_id}", auth=AUTH)
    refused, cancel, submit = entries(http)
    at = submit.pop("at")
    assert str(at).endswith("Z")
    assert submit == {
        "user": USER,
        "token": None,
        "action": "build.submit",
        "subject": build_id,
        "status": 202,
        "address": "127.0.0.1",
        "request_id": "r-1",
    }
    assert (cancel["action"], cancel["subject"], cancel["status"]) == (
        "build.cancel",
        build_id,
        202,
    )
    assert refused["status"] == 409


def test_what_a_token_did_is_told_as_that_tokens(http: FlaskClient) -> None:
    made = http.post("/api/v1/tokens", auth=AUTH, json={"name": "ci", "role": "builder"}).json or {}
    bearer = {"Authorization": f"Bearer {made['token']}"}
    http.post("/api/v1/builds", json=BODY, headers=bearer)
    http.put("/api/v1/projects/shop", auth=AUTH, json={})
    project, submit, token = entries(http)
    assert (token["action"], token["subject"], token["token"]) == ("token.create", made["id"], None)
    assert (submit["user"], submit["token"]) == (USER, made["id"])
    assert (project["action"], project["subject"]) == ("projects.put", "shop")
    assert made["token"] not in json.dumps([project, submit, token])


def test_failed_logins_name_users_only(http: FlaskClient) -> None:
    """Passwords are typed into the wrong field now and then."""
    http.get("/api/v1/builds", auth=(USER, "wrong"))
    http.get("/api/v1/builds", auth=("my-password-canary", "x"))
    http.get("/api/v1/builds", headers={"Authorization": "Bearer bft_nonsense"})
    http.get("/api/v1/builds")
    found = [(entry["action"], entry["user"], entry["status"]) for entry in entries(http)]
    assert found == [
        ("login.failed", None, 401),
        ("login.failed", None, 401),
        ("login.failed", USER, 401),
    ]


def test_pages_and_filters(http: FlaskClient) -> None:
    ids = [submitted(http) for _ in range(5)]
    http.post(f"/api/v1/builds/{ids[0]}/cancel", auth=AUTH)
    seen: list[object] = []
    query = "/api/v1/audit?action=build.submit&limit=2"
    before: str | None = ""
    pages = 0
    while before is not None:
        page = http.get(query + before, auth=AUTH).json or {}
        seen += [entry["subject"] for entry in page["entries"]]
        before = None if page["next"] is None else f"&before={page['next']}"
        pages += 1
    assert seen == ids[::-1]
    assert pages == 3
    assert [e["action"] for e in entries(http, f"?subject={ids[0]}")] == [
        "build.cancel",
        "build.submit",
    ]
    assert entries(http, "?user=nobody") == []
    assert http.get("/api/v1/audit?since=x", auth=AUTH).status_code == 400


class _Broken:
    def add(self, _entries: object) -> None:
        raise StoreUnavailableError("no disk")

    def page(self, _query: object) -> tuple[list[Entry], int | None]:
        return [], None


def test_what_the_database_does_not_take_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    trail = AuditTrail(_Broken())
    trail.start()
    trail.record(Entry(1.0, "ann", None, "build.cancel", "b1", 202, "10.0.0.9", "r-2"))
    trail.stop()
    assert not trail.alive
    assert "build.cancel" in caplog.text
    assert "10.0.0.9" in caplog.text


def test_pause_drain_and_resume_are_stored_and_told(http: FlaskClient, store: SqlStore) -> None:
    def state() -> tuple[object, object, object]:
        told = http.get("/api/v1/scheduler", auth=AUTH).json or {}
        ready = http.get("/readyz").json or {}
        return told["state"], told["by"], ready["checks"]["scheduler"]

    assert state() == ("running", None, "running")
    answer = http.post("/api/v1/scheduler/pause", auth=AUTH)
    since = (answer.json or {})["since"]
    assert state() == ("paused", USER, "paused")
    again = http.post("/api/v1/scheduler/pause", auth=AUTH).json or {}
    assert again["since"] == since is not None
    assert http.get("/readyz").status_code == 200
    http.post("/api/v1/scheduler/drain", auth=AUTH)
    assert state() == ("drained", USER, "drained")
    assert SqlScheduling(store).read().by == USER
    http.post("/api/v1/scheduler/resume", auth=AUTH)
    assert state() == ("running", USER, "running")
    assert http.post("/api/v1/scheduler/stop", auth=AUTH).status_code == 404
    assert [entry["subject"] for entry in entries(http, "?action=scheduler.change")][1:4] == [
        "resume",
        "drain",
        "pause",
    ]


def test_from_the_command_line(run: Run) -> None:
    assert "paused; 0 builds" in run("pause").stderr
    done = run("drain", "--wait")
    assert done.exit_code == 0, done.output
    assert json.loads(run("resume", "--json").stdout)["state"] == "running"
    lines = run("audit", "--action", "scheduler.change").stdout.splitlines()
    assert [line.split("\t")[3] for line in lines] == ["SUBJECT", "resume", "drain", "pause"]
    assert len(json.loads(run("audit", "--json", "--limit", "2").stdout)) == 2


def test_who_has_no_password_cannot_fill_the_trail(http: FlaskClient) -> None:
    for _ in range(MOST_OF_ADDRESS + 5):
        http.get("/api/v1/builds", headers={"Authorization": "Bearer bft_nonsense"})
    assert len(entries(http, "?limit=200")) == MOST_OF_ADDRESS
