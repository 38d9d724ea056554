"""Tasks of tutum/builder, sent as Eremetic's clients do, become images in the registry."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from devcluster import Cluster
from tests.integration.conftest import PORT
from tests.integration.harness import Framework, Json, pull, until
from tests.unit.receivers import Receiver, answers, receiving

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving(answers("200 OK")) as running:
        yield running


@pytest.fixture(scope="module")
def eremetic(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, receiver: Receiver
) -> Iterator[Framework]:
    settings = {
        "BUILDER_EREMETIC": "true",
        "BUILDER_EREMETIC_TASKS": "true",
        "BUILDER_REPOSITORY_PROGRAMS": "request",
        "BUILDER_DEFAULT_CPUS": "0.5",
        "BUILDER_DEFAULT_MEM": "512",
        "BUILDER_WEBHOOK_HOSTS": f"http://127.0.0.1:{receiver.port}",
        "BUILDER_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "BUILDER_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    }
    running = Framework(cluster, tmp_path_factory.mktemp("eremetic"), PORT + 4, settings)
    running.start()
    yield running
    if running.process is not None:
        running.end(signal.SIGTERM)


def add(framework: Framework, name: str, repository: str, **fields: Any) -> str:
    """What `examples.md` of Eremetic sends for a build; the id."""
    registry = framework.cluster.registry
    task = {
        "cpu": 0.1,
        "mem": 22.0,
        "image": "tutum/builder:latest",
        "privileged": True,
        "volumes": [
            {"container_path": "/var/run/docker.sock", "host_path": "/var/run/docker.sock"}
        ],
        "env": {
            "GIT_REPO": framework.cluster.git.clone_url(repository),
            "IMAGE_NAME": f"{registry.address}/{name}:1",
            "USERNAME": registry.username,
        },
        "masked_env": {"PASSWORD": registry.password},
        **fields,
    }
    answer = framework.call("POST", "/api/v1/task", json=task)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"{framework.url}/api/v1/task/{answer.json()}"
    return str(answer.json())


def calls_of(receiver: Receiver, task: str) -> list[Json]:
    """What its callback was sent."""
    told = [request.json() for request in receiver.requests]
    return [each for each in told if each["task_id"] == task]


def show(framework: Framework, task: str) -> Json:
    found: Json = framework.call("GET", f"/api/v1/task/{task}").json()
    return found


def states(framework: Framework, task: str) -> list[str]:
    return [each["status"] for each in show(framework, task)["status"]]


def test_a_task_ends_as_an_image(
    eremetic: Framework, cluster: Cluster, receiver: Receiver, name: str
) -> None:
    """Also when the framework is killed in between: accepted is accepted."""
    files = {"Dockerfile": f"FROM {cluster.base_image}\nENV TEST={name}\n"}
    cluster.git.create_repository(name, files)
    task = add(eremetic, name, name, callback_uri=receiver.url)
    eremetic.end(signal.SIGKILL)
    eremetic.start()
    over = {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_LOST", "TASK_ERROR"}
    until(lambda: states(eremetic, task)[-1] in over, "the task did not end", 120)
    found = show(eremetic, task)
    log = eremetic.call("GET", f"/api/v1/task/{task}/stdout").text
    assert [each["status"] for each in found["status"]] == [
        "TASK_QUEUED",
        "TASK_STAGING",
        "TASK_RUNNING",
        "TASK_FINISHED",
    ], log[-2000:]
    assert found["digest"] == pull(cluster, name, "1").digest
    assert f"Pushed {cluster.registry.address}/{name}:1@{found['digest']}" in log
    assert cluster.registry.password not in log + str(found)
    until(lambda: bool(calls_of(receiver, task)), "nobody was called back")
    assert calls_of(receiver, task)[0] == {
        "time": found["status"][-1]["time"],
        "status": "TASK_FINISHED",
        "task_id": task,
    }


def test_a_task_is_killed_and_then_deleted(
    eremetic: Framework, cluster: Cluster, name: str
) -> None:
    dockerfile = f"FROM {cluster.base_image}\nRUN sleep 300\n"
    cluster.git.create_repository(name, {"Dockerfile": dockerfile})
    task = add(eremetic, name, name)
    until(lambda: states(eremetic, task)[-1] == "TASK_RUNNING", "it does not run")
    running = eremetic.call("DELETE", f"/api/v1/task/{task}")
    assert running.status_code == 409
    assert eremetic.call("POST", f"/api/v1/task/{task}/kill").status_code == 202
    until(lambda: states(eremetic, task)[-1] == "TASK_KILLED", "it was not killed")
    assert eremetic.call("DELETE", f"/api/v1/task/{task}").status_code == 202
    assert eremetic.call("GET", f"/api/v1/task/{task}").status_code == 404


@pytest.fixture(scope="module")
def busybox(eremetic: Framework, cluster: Cluster) -> str:
    """An image that only a project has the login for."""
    registry = cluster.registry
    path = "/api/v1/projects/tools"
    assert (
        eremetic.call("PUT", path, json={"images": [f"{registry.address}/base"]}).status_code == 201
    )
    login = {
        "registry": registry.address,
        "username": registry.username,
        "password": registry.password,
    }
    answer = eremetic.call("PUT", f"{path}/credentials/hub", json={"registry": login})
    assert answer.status_code == 204, answer.text
    return cluster.base_image


def run(framework: Framework, image: str, **fields: Any) -> str:
    """A task of any image; its id."""
    task = {"cpu": 0.2, "mem": 256.0, "image": image, **fields}
    answer = framework.call("POST", "/api/v1/task", json=task)
    assert answer.status_code == 202, answer.text
    return str(answer.json())


def ended(framework: Framework, task: str) -> Json:
    over = {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_LOST", "TASK_ERROR"}
    until(lambda: states(framework, task)[-1] in over, "the task did not end", 120)
    until(
        lambda: framework.get(show(framework, task)["build_id"])["log"]["complete"],
        "its log does not end",
    )
    return show(framework, task)


def said(framework: Framework, task: str) -> list[str]:
    return framework.call("GET", f"/api/v1/task/{task}/stdout").text.splitlines()


def test_a_program_of_any_image(
    eremetic: Framework, cluster: Cluster, receiver: Receiver, busybox: str
) -> None:
    """With its variables, its exit code and what it said; no secret is seen."""
    task = run(
        eremetic,
        busybox,
        name="of the night",
        command='echo to $WHOM, $(printf %s "$TOKEN" | wc -c) long; echo err >&2; exit 3',
        env={"WHOM": "two words"},
        masked_env={"TOKEN": "canary-of-task"},
        callback_uri=receiver.url,
    )
    found = ended(eremetic, task)
    log = said(eremetic, task)
    assert found["status"][-1]["status"] == "TASK_FAILED", log
    assert found["message"] == "the program ended with 3"
    assert {"to two words, 14 long", "err"} <= set(log)
    assert found["masked_env"] == {"TOKEN": "*******"}
    assert found["env"] == {"WHOM": "two words"}
    build = eremetic.get(found["build_id"])
    assert (build["reason"], build["images"], build["project"]) == ("task_failed", [], "tools")
    assert build["source"]["task"]["env"] == {"WHOM": "two words", "TOKEN": "***"}
    assert "canary-of-task" not in str(found) + str(build) + "".join(log)
    assert "canary-of-task" not in eremetic.log_file.read_text()
    until(lambda: bool(calls_of(receiver, task)), "nobody was called back")
    assert calls_of(receiver, task)[0]["status"] == "TASK_FAILED"
    good = ended(eremetic, run(eremetic, busybox, args=["/bin/sh", "-c", "echo by args"]))
    assert good["status"][-1]["status"] == "TASK_FINISHED"
    assert "by args" in said(eremetic, str(good["id"]))


def test_a_program_that_is_killed_hears_of_it(eremetic: Framework, busybox: str) -> None:
    command = "trap 'echo bye; exit 0' TERM; echo ready; while true; do sleep 0.1; done"
    task = run(eremetic, busybox, command=command)
    until(lambda: "ready" in said(eremetic, task), "it does not run")
    assert eremetic.call("POST", f"/api/v1/task/{task}/kill").status_code == 202
    assert ended(eremetic, task)["status"][-1]["status"] == "TASK_KILLED"
    assert "bye" in said(eremetic, task)


def test_a_program_that_is_not_there_and_an_image_that_is_not(
    eremetic: Framework, cluster: Cluster, busybox: str
) -> None:
    nowhere = ended(eremetic, run(eremetic, busybox, args=["/no/such/program"]))
    assert nowhere["status"][-1]["status"] == "TASK_FAILED"
    assert nowhere["message"] == "the program ended with 127"
    assert any("/no/such/program" in line for line in said(eremetic, str(nowhere["id"])))
    missing = ended(eremetic, run(eremetic, f"{cluster.registry.address}/base:none"))
    assert eremetic.get(missing["build_id"])["reason"] == "base_image_failed"


def test_privilege_and_a_socket_are_those_of_its_own_engine(
    eremetic: Framework, busybox: str
) -> None:
    """What mounts the agent's socket to build with it finds an engine, and nobody else's things."""
    command = "grep CapEff /proc/self/status; test ! -S /run/d.sock || echo a socket"
    socket = {"container_path": "/run/d.sock", "host_path": "/var/run/docker.sock"}
    plain = run(eremetic, busybox, command=command)
    trusted = run(eremetic, busybox, command=command, privileged=True, volumes=[socket])
    powers = []
    for task in (plain, trusted):
        assert ended(eremetic, task)["status"][-1]["status"] == "TASK_FINISHED"
        (line,) = [each for each in said(eremetic, task) if each.startswith("CapEff")]
        powers.append(int(line.split()[1], 16))
    assert powers[0] & ~powers[1] == 0
    assert powers[0] != powers[1]
    assert "a socket" in said(eremetic, trusted)
    assert "a socket" not in said(eremetic, plain)
