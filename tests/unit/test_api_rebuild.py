"""A build that is asked for again: the same request, by the rules of today."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from api import rebuild, schemas
from builder_framework.domain.model import Build, BuildRequest, Dedupe, Resources
from builder_framework.errors import ConflictError, InvalidInputError
from builder_framework.ports import Permission, RequestPolicy
from builder_framework.protocol import EngineMode
from builder_framework.recipe import Recipe, Source, UploadSource
from builder_framework.redact import Secret
from tests.unit.builds_double import AUTH, BODY, MemoryBuilds

pytest_plugins = ("tests.unit.conftest_api",)

ALL = RequestPolicy(
    git_protocols=("https", "http"),
    engines=(EngineMode.NESTED, EngineMode.SOCKET),
    networks=("BRIDGE", "lan"),
    repository_programs=Permission.REQUEST,
    webhook_hosts=("hooks.example.org",),
)


def asked(**changes: object) -> BuildRequest:
    request = schemas.parse_build(BODY, ALL).to_request(ALL)
    return replace(request, **changes)  # type: ignore[arg-type]


def build(request: BuildRequest) -> Build:
    return Build("0" * 16, request, "ann", 1.0)


def test_the_same_secrets_are_used_again(http: FlaskClient, builds: MemoryBuilds) -> None:
    body = {**BODY, "registry_auth": {"username": "ci", "password": "canary-1"}}
    first = http.post("/api/v1/builds", auth=AUTH, json=body).get_json()
    answer = http.post(f"{first['links']['self']}/rebuild", auth=AUTH)
    assert answer.status_code == 202
    second = answer.get_json()
    assert answer.headers["Location"] == second["links"]["self"]
    assert second["id"] != first["id"]
    assert builds.builds[second["id"]].request == builds.builds[first["id"]].request
    assert b"canary-1" not in answer.data


def test_asking_twice_with_one_key_makes_one_build(http: FlaskClient) -> None:
    first = http.post("/api/v1/builds", auth=AUTH, json=BODY).get_json()
    path, headers = f"{first['links']['self']}/rebuild", {"Idempotency-Key": "k"}
    made = [http.post(path, auth=AUTH, headers=headers) for _ in range(2)]
    assert made[0].get_json()["id"] == made[1].get_json()["id"]
    assert made[1].headers["Idempotent-Replayed"] == "true"
    other = http.post("/api/v1/builds", auth=AUTH, json=BODY).get_json()
    answer = http.post(f"{other['links']['self']}/rebuild", auth=AUTH, headers=headers)
    assert answer.status_code == 409


def test_it_is_another_build_in_any_case() -> None:
    assert rebuild.again(build(asked(dedupe=Dedupe.FINISHED)), ALL).dedupe is Dedupe.OFF


def test_a_context_that_was_uploaded_is_gone() -> None:
    upload = Source(upload=UploadSource("0" * 32, "0" * 64, 1, Secret("t")))
    with pytest.raises(ConflictError, match="submit it again"):
        rebuild.again(build(asked(source=upload)), ALL)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"engine": EngineMode.SOCKET}, "engine"),
        ({"executor_network": "lan"}, "executor_network"),
        ({"recipe": Recipe(hooks=True)}, "hooks"),
        ({"recipe": Recipe(tests=True)}, "tests"),
        ({"webhooks": (Secret("https://hooks.example.org/x"),)}, "webhooks"),
        ({"timeout": 1e6}, "timeout"),
        ({"queue_ttl": 1e7}, "queue_ttl"),
        ({"resources": Resources(1e3, 512.0)}, "resources.cpus"),
    ],
)
def test_what_was_forbidden_since_is_told(changes: dict[str, object], field: str) -> None:
    wide = replace(ALL, max_timeout=1e9, max_queue_ttl=1e9, max_resources=Resources(1e9, 1e9, 1e9))
    request = asked(**changes)
    assert rebuild.again(build(request), wide) == request
    with pytest.raises(InvalidInputError) as caught:
        rebuild.again(build(request), RequestPolicy())
    assert [problem.field for problem in caught.value.problems] == [field]
