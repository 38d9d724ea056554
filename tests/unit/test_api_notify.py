"""Requests that name who else is told: of the operator's targets only those that they may have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from builder_framework.domain.model import NotifyRequest
from builder_framework.domain.targets import Kind, Target
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from tests.unit.builds_double import AUTH, BODY, MemoryBuilds
from tests.unit.commands import GIT, Run, only_build

pytest_plugins = ("tests.unit.conftest_cli",)

URL = Secret("https://chat.example.org/hooks/t0ken")


@pytest.fixture
def policy() -> RequestPolicy:
    return RequestPolicy(
        targets=(
            Target("chat", Kind.SLACK, URL, always=False, channels=frozenset({"#shop"})),
            Target("all", Kind.SLACK, URL),
        )
    )


def submit(http: FlaskClient, *notify: dict[str, Any]) -> Any:
    return http.post("/api/v1/builds", json={**BODY, "notify": list(notify)}, auth=AUTH)


def test_what_was_asked_for_is_kept_and_shown(http: FlaskClient, builds: MemoryBuilds) -> None:
    asked = {"target": "chat", "channel": "#shop", "events": ["finished"], "outcomes": ["failed"]}
    answer = submit(http, asked)
    assert answer.status_code == 202, answer.text
    shown = http.get(f"/api/v1/builds/{answer.json['id']}", auth=AUTH)
    assert (shown.json or {})["notify"] == [asked]
    assert "t0ken" not in shown.text
    kept = builds.get(answer.json["id"]).build.request.notify
    assert kept == (NotifyRequest("chat", "#shop", ("finished",), ("failed",)),)


@pytest.mark.parametrize(
    ("notify", "field", "words"),
    [
        (
            [{"target": "mail"}],
            "notify",
            "there is no target 'mail' for this build; there are: chat",
        ),
        ([{"target": "all"}], "notify", "is told of every build already"),
        ([{"target": "chat", "channel": "@boss"}], "notify", "no such channel"),
        ([{"target": "chat"}, {"target": "chat"}], "notify", "names a target twice"),
        ([{"target": "chat", "events": ["over"]}], "notify.0.events.0", "queued"),
        ([{"target": "chat", "chanel": "#shop"}], "notify.0.chanel", "did you mean 'channel'?"),
        ([{"channel": "#shop"}], "notify.0.target", "required"),
    ],
)
def test_what_may_not_be_had_is_refused_with_the_reason(
    http: FlaskClient, notify: list[dict[str, Any]], field: str, words: str
) -> None:
    answer = submit(http, *notify)
    assert answer.status_code == 400
    (error,) = answer.json["errors"]
    assert error["field"] == field
    assert words in error["problem"]


def test_on_the_command_line(run: Run, builds: MemoryBuilds) -> None:
    result = run("submit", *GIT, "--notify", "chat=#shop", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["notify"][0]["channel"] == "#shop"
    asked = builds.get(only_build(builds)).build.request.notify
    assert asked == (NotifyRequest("chat", "#shop"),)
