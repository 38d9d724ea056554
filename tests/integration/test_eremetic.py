"""Tasks of tutum/builder, sent as Eremetic's clients do, become images in the registry."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster import Cluster
from tests.integration.conftest import PORT
from tests.integration.harness import Framework, Json, pull, until
from tests.unit.receivers import Receiver, answers, receiving

pytestmark = pytest.mark.integration


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(answers("200 OK")) as running:
        yield running


@pytest.fixture
def eremetic(cluster: Cluster, tmp_path: Path, receiver: Receiver) -> Iterator[Framework]:
    settings = {
        "BUILDER_EREMETIC": "true",
        "BUILDER_DEFAULT_CPUS": "0.5",
        "BUILDER_DEFAULT_MEM": "512",
        "BUILDER_WEBHOOK_HOSTS": f"http://127.0.0.1:{receiver.port}",
        "BUILDER_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "BUILDER_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    }
    running = Framework(cluster, tmp_path / "data", PORT + 4, settings)
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
    until(lambda: bool(receiver.requests), "nobody was called back")
    assert receiver.requests[0].json() == {
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
