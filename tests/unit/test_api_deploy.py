"""`deploy` of a request: who may ask for it, and how what becomes of it is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import rebuild
from builder_framework.config import load
from builder_framework.domain.apps import MarathonDeploy
from builder_framework.domain.deployment import Deployment, DeploymentState
from builder_framework.domain.states import State
from builder_framework.errors import ConfigError, InvalidInputError
from builder_framework.ports import RequestPolicy
from tests.unit.builds_double import AUTH, BODY, MemoryBuilds

pytest_plugins = ("tests.unit.conftest_api",)

ASKED = {**BODY, "deploy": {"marathon": {"app": "/shop/web", "timeout": 60}}}


@pytest.fixture
def policy() -> RequestPolicy:
    return RequestPolicy(marathon=True, marathon_apps=("/shop",), marathon_max_timeout=300.0)


def faults(answer: Any) -> dict[str, str]:
    assert answer.status_code == 400
    return {each["field"]: each["problem"] for each in answer.get_json()["errors"]}


def test_what_is_asked_for_is_kept_and_shown(http: FlaskClient, builds: MemoryBuilds) -> None:
    made = http.post("/api/v1/builds", auth=AUTH, json=ASKED).get_json()
    assert made["deploy"] == {"marathon": {"app": "/shop/web", "timeout": 60.0}}
    assert made["deployment"] is None
    assert builds.builds[made["id"]].request.deploy == MarathonDeploy("/shop/web", 60.0)


def test_its_time_is_the_operators_if_that_is_less(http: FlaskClient, builds: MemoryBuilds) -> None:
    body = {**BODY, "deploy": {"marathon": {"app": "/shop"}}}
    made = http.post("/api/v1/builds", auth=AUTH, json=body).get_json()
    assert made["deploy"]["marathon"]["timeout"] == 300.0


@pytest.mark.parametrize(
    ("deploy", "field", "says"),
    [
        ({"marathon": {"app": "shop"}}, "deploy.marathon.app", "is no absolute id"),
        ({"marathon": {"app": "/shop?force=true"}}, "deploy.marathon.app", "is no absolute id"),
        ({"marathon": {"app": "/bank"}}, "deploy.marathon.app", "BUILDER_MARATHON_APPS"),
        ({"marathon": {"app": "/shopping"}}, "deploy.marathon.app", "BUILDER_MARATHON_APPS"),
        ({"marathon": {"app": "/shop", "timeout": 301}}, "deploy.marathon.timeout", "300 s"),
        ({"marathon": {"app": "/shop", "force": True}}, "deploy.marathon.force", "known are app"),
        ({"marathon": {}}, "deploy.marathon.app", "is required"),
        ({}, "deploy.marathon", "is required"),
    ],
)
def test_what_is_wrong_with_it_is_named(
    http: FlaskClient, deploy: dict[str, Any], field: str, says: str
) -> None:
    answer = http.post("/api/v1/builds", auth=AUTH, json={**BODY, "deploy": deploy})
    found = faults(answer)
    assert found.keys() == {field}
    assert says in found[field]


class TestWithoutMarathon:
    @pytest.fixture
    def policy(self) -> RequestPolicy:
        return RequestPolicy()

    def test_it_is_refused(self, http: FlaskClient) -> None:
        found = faults(http.post("/api/v1/builds", auth=AUTH, json=ASKED))
        assert found == {"deploy": "no Marathon is configured here (BUILDER_MARATHON_URL)"}


def test_a_rebuild_deploys_again_while_there_is_a_marathon(
    http: FlaskClient, builds: MemoryBuilds, policy: RequestPolicy
) -> None:
    made = http.post("/api/v1/builds", auth=AUTH, json=ASKED).get_json()
    again = http.post(f"{made['links']['self']}/rebuild", auth=AUTH).get_json()
    assert again["deploy"] == made["deploy"]
    build = builds.builds[made["id"]]
    with pytest.raises(InvalidInputError, match="any more"):
        rebuild.again(build, replace(policy, marathon=False))


def test_what_became_of_it_is_shown_and_a_secret_in_it_is_not(
    http: FlaskClient, builds: MemoryBuilds
) -> None:
    body = {**ASKED, "registry_auth": {"username": "ci", "password": "canary-deploy"}}
    made = http.post("/api/v1/builds", auth=AUTH, json=body).get_json()
    image = f"registry.example.org/app@sha256:{'a' * 64}"
    deployment = Deployment(made["id"], "/shop/web", image, 60.0, 1700000000.0)
    builds.deployments[made["id"]] = replace(
        deployment,
        state=DeploymentState.ROLLED_BACK,
        message="TASK_FAILED: canary-deploy",
        previous="registry.example.org/app:1",
        started_at=1700000001.0,
        ended_at=1700000062.5,
    )
    builds.builds[made["id"]] = replace(builds.builds[made["id"]], state=State.SUCCEEDED)
    shown = http.get(made["links"]["self"], auth=AUTH).get_json()
    assert shown["state"] == "SUCCEEDED"
    assert shown["deployment"] == {
        "state": "ROLLED_BACK",
        "app": "/shop/web",
        "image": image,
        "digest": f"sha256:{'a' * 64}",
        "previous": "registry.example.org/app:1",
        "message": "TASK_FAILED: ***",
        "created_at": "2023-11-14T22:13:20.000Z",
        "started_at": "2023-11-14T22:13:21.000Z",
        "finished_at": "2023-11-14T22:14:22.500Z",
    }
    listed = http.get("/api/v1/builds", auth=AUTH).get_json()["builds"]
    assert listed[0]["deployment"] == shown["deployment"]
    page = http.get(f"/ui/builds/{made['id']}", auth=AUTH).get_data(as_text=True)
    assert "ROLLED_BACK" in page
    assert "canary-deploy" not in page


# -- settings -------------------------------------------------------------------------------------

BASE = {
    "BUILDER_MESOS_MASTER": "m:5050",
    "BUILDER_EXECUTOR_IMAGE": "executor:1",
    "BUILDER_USERNAME": "a",
    "BUILDER_PASSWORD": "b",
}
URL = {"BUILDER_MARATHON_URL": "https://marathon.example.org/marathon"}


def test_settings(tmp_path: Any) -> None:
    file = tmp_path / "login"
    file.write_text("ops:pass:word\n")
    told = {**BASE, **URL, "BUILDER_MARATHON_APPS": "/shop, /bank/web"}
    settings = load({**told, "BUILDER_MARATHON_LOGIN_FILE": str(file)})
    assert settings.request_policy().marathon
    assert settings.request_policy().marathon_apps == ("/shop", "/bank/web")
    assert settings.marathon_login is not None
    assert settings.marathon_login.get_secret_value() == "ops:pass:word"
    assert "pass:word" not in repr(settings)
    assert settings.marathon() is not None
    assert load(BASE).marathon() is None
    assert not load(BASE).request_policy().marathon


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"BUILDER_MARATHON_URL": "marathon:8080"}, "is no http"),
        ({"BUILDER_MARATHON_URL": "http://ops:x@marathon:8080"}, "is no http"),
        ({"BUILDER_MARATHON_URL": "http://marathon/?x"}, "is no http"),
        ({**URL, "BUILDER_MARATHON_LOGIN": "ops"}, "is not USER:PASSWORD"),
        ({**URL, "BUILDER_MARATHON_APPS": "shop"}, "is no absolute id"),
        ({"BUILDER_MARATHON_APPS": "/shop"}, "need marathon_url"),
        ({"BUILDER_MARATHON_LOGIN": "a:b"}, "need marathon_url"),
    ],
)
def test_settings_that_cannot_be(told: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load({**BASE, **told})
