"""Tasks of other images than tutum/builder: what runs, what is refused, and what is shown of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from builder_framework.domain import events as ev
from builder_framework.domain.model import Constraint, Resources
from builder_framework.people import People
from builder_framework.ports import Permission, RequestPolicy
from builder_framework.protocol import EngineMode, Outcome, Reason, Report
from builder_framework.recipe import RunNetwork
from builder_framework.redact import Secret
from builder_framework.users import SingleUser
from tests.unit.builds_double import AUTH, PASSWORD, USER, MemoryBuilds
from tests.unit.test_eremetic import V1, application, build_of, call, request_of, shown

TASK: dict[str, Any] = {"cpu": 0.5, "mem": 64.0, "image": "busybox", "command": "echo $A"}
PROGRAMS = RequestPolicy(repository_programs=Permission.REQUEST)
SOCKET = {"container_path": "/run/docker.sock", "host_path": "/var/run/docker.sock"}


def client(builds: MemoryBuilds, policy: RequestPolicy | None = None) -> FlaskClient:
    people = People(SingleUser(USER, Secret(PASSWORD)))
    return application(builds, people, policy or RequestPolicy(), tasks=True).test_client()


@pytest.fixture
def builds() -> MemoryBuilds:
    return MemoryBuilds()


@pytest.fixture
def http(builds: MemoryBuilds) -> FlaskClient:
    return client(builds)


def add(http: FlaskClient, **fields: Any) -> str:
    answer = call(http, "POST", V1, {**TASK, **fields})
    assert answer.status_code == 202, answer.text
    return str(json.loads(answer.data))


def error(http: FlaskClient, **fields: Any) -> str:
    answer = call(http, "POST", V1, {**TASK, **fields})
    assert answer.status_code == 422, answer.text
    return str(json.loads(answer.data)["error"])


def test_a_task_is_a_request_without_images(http: FlaskClient, builds: MemoryBuilds) -> None:
    task = add(
        http,
        env={"A": "b", "P": "shown"},
        masked_env={"P": "s3cret-canary"},
        agent_constraints=[{"attribute_name": "rack", "attribute_value": "a"}],
        network="host",
        dns="10.0.0.2",
        force_pull_image=True,
    )
    request = request_of(builds, task)
    source = request.source.task
    assert (source.image, source.command, source.args) == (
        "docker.io/library/busybox:latest",
        "echo $A",
        (),
    )
    assert (source.env, source.masked_env) == ({"A": "b"}, {"P": Secret("s3cret-canary")})
    assert (source.network, source.dns, source.pull) == (RunNetwork.HOST, ("10.0.0.2",), True)
    assert (source.privileged, source.socket) == (False, None)
    assert request.images == ()
    assert request.titles == ("docker.io/library/busybox:latest",)
    assert request.resources == Resources(0.5, 64.0, 0.0)
    assert request.constraints == (Constraint("rack", "EQUALS", "a"),)
    assert (request.engine, request.max_attempts) == (EngineMode.NESTED, 1)


def test_what_it_does_not_say_is_the_operators(http: FlaskClient, builds: MemoryBuilds) -> None:
    request = request_of(builds, add(http, cpu=0, mem=0, command="", args=["date", "+%s"]))
    assert request.resources == RequestPolicy().default_resources
    assert request.source.task.args == ("date", "+%s")


def test_it_is_shown_as_it_was_asked_for_and_masked_as_eremetic_masks(
    http: FlaskClient, builds: MemoryBuilds
) -> None:
    task = add(http, env={"A": "b"}, masked_env={"P": "s3cret-canary"}, name="nightly")
    found = shown(http, task)
    assert (found["env"], found["masked_env"]) == ({"A": "b"}, {"P": "*******"})
    assert (found["image"], found["command"], found["name"]) == ("busybox", "echo $A", "nightly")
    ours = http.get(f"/api/v1/builds/{build_of(task)}", auth=AUTH).json
    assert ours is not None
    assert ours["images"] == []
    assert ours["source"]["task"] == {
        "image": "docker.io/library/busybox:latest",
        "command": "echo $A",
        "args": [],
        "env": {"A": "b", "P": "***"},
        "privileged": False,
        "network": "default",
    }
    for path in ("/ui/", "/ui/queue", f"/ui/builds/{build_of(task)}", "/api/v1/builds?q=nightly"):
        text = http.get(path, auth=AUTH).text
        assert "busybox" in text, path
        assert "s3cret-canary" not in text


def test_how_it_ends(http: FlaskClient, builds: MemoryBuilds) -> None:
    good, bad = add(http), add(http)
    for task in (good, bad):
        builds.place(build_of(task))
    builds.apply(build_of(good), ev.TaskSucceeded(1, Report(outcome=Outcome.SUCCEEDED)))
    builds.apply(build_of(bad), ev.TaskFailed(1, Reason.TASK_FAILED, "the program ended with 3"))
    assert shown(http, good)["status"][-1]["status"] == "TASK_FINISHED"
    found = shown(http, bad)
    assert (found["status"][-1]["status"], found["message"]) == (
        "TASK_FAILED",
        "the program ended with 3",
    )


def test_what_ran_once_is_not_run_again_by_itself(http: FlaskClient, builds: MemoryBuilds) -> None:
    task = add(http)
    builds.place(build_of(task))
    builds.apply(build_of(task), ev.TaskLost(1, Reason.AGENT_LOST, "the agent is gone"))
    assert [each["status"] for each in shown(http, task)["status"]][-1] == "TASK_LOST"
    again = http.post(f"/api/v1/builds/{build_of(task)}/rebuild", auth=AUTH)
    assert again.status_code == 409


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"image": ""}, "image: "),
        ({"image": "UPPER"}, "image: "),
        ({"image": "--privileged"}, "image: "),
        ({"cpu": 100000.0}, "cpu: is not 0.01 to 256"),
        ({"mem": 1.0}, "mem: is not 32 to "),
        ({"privileged": True}, "privileged: takes BUILDER_REPOSITORY_PROGRAMS"),
        ({"volumes": [SOCKET]}, "volumes.0: takes BUILDER_REPOSITORY_PROGRAMS"),
        ({"volumes": [{"host_path": "/etc"}]}, "volumes.0: only /var/run/docker.sock"),
        ({"volumes_from": ["x"]}, "volumes_from: is not to be had"),
        ({"ports": [{"container_port": 80}]}, "ports: is not to be had"),
        ({"fetch": [{"uri": "http://x"}]}, "fetch: is not to be had"),
        ({"uris": ["http://x"]}, "fetch: is not to be had"),
        ({"network": "weave"}, "network: is one of BRIDGE, HOST and NONE"),
        ({"dns": "ns.example.org"}, "dns: is no address"),
        ({"env": {"A=B": "c"}}, "env: a variable's name"),
        ({"masked_env": {"": "c"}}, "env: a variable's name"),
        ({"command": "x\0y"}, "command: "),
        ({"command": "x" * 70_000}, "command: "),
    ],
)
def test_what_it_cannot_have_is_named(
    http: FlaskClient, builds: MemoryBuilds, fields: dict[str, Any], complaint: str
) -> None:
    assert complaint in error(http, **fields)
    assert builds.builds == {}


def test_privilege_and_the_engine_where_the_operator_trusts_builders(
    builds: MemoryBuilds,
) -> None:
    http = client(builds, PROGRAMS)
    source = request_of(builds, add(http, privileged=True, volumes=[SOCKET])).source.task
    assert (source.privileged, source.socket) == (True, "/run/docker.sock")
    assert "volumes.1: only" in error(http, volumes=[SOCKET, SOCKET])
    assert "no absolute path" in error(http, volumes=[{**SOCKET, "container_path": "a:b"}])


def test_not_without_an_engine_of_its_own(builds: MemoryBuilds) -> None:
    http = client(builds, replace(PROGRAMS, engines=(EngineMode.SOCKET,)))
    assert "the engine `nested`" in error(http)


def test_a_builder_is_still_a_build(http: FlaskClient, builds: MemoryBuilds) -> None:
    env = {"GIT_REPO": "https://git.example.org/a.git", "IMAGE_NAME": "registry.example.org/a"}
    request = request_of(builds, add(http, image="tutum/builder", env=env))
    assert request.source.git is not None
    assert request.source.task is None
