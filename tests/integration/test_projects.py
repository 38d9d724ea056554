"""A project's builds use its logins, by a token that is nothing else, and as many as it may."""

from __future__ import annotations

import time

import pytest

from builder_framework.service import limits
from devcluster import Cluster
from tests.integration.harness import Framework, pull, until

pytestmark = pytest.mark.integration


@pytest.fixture
def project(framework: Framework, cluster: Cluster, name: str) -> str:
    """It owns one image and one repository, and has the logins for both."""
    registry, git = cluster.registry, cluster.git
    path = f"/api/v1/projects/{name}"
    spec = {
        "images": [f"{registry.address}/{name}"],
        "repositories": [f"{git.url}/{name}"],
        "quota": {"max_running": 1},
    }
    logins = {
        "hub": {
            "registry": {
                "registry": registry.address,
                "username": registry.username,
                "password": registry.password,
            }
        },
        "git": {
            "git": {
                "host": git.url.removeprefix("http://"),
                "username": git.username,
                "password": git.password,
            }
        },
        "word": {"secret": "canary-of-the-project"},
    }
    assert framework.call("PUT", path, json=spec).status_code == 201
    for credential, body in logins.items():
        answer = framework.call("PUT", f"{path}/credentials/{credential}", json=body)
        assert answer.status_code == 204, answer.text
    time.sleep(limits.FRESH)  # until the leader has read the limit
    return name


def test_a_token_of_a_project_is_all_that_a_pipeline_needs(
    framework: Framework, cluster: Cluster, project: str
) -> None:
    """Clone from a private repository, a secret, a push: with logins that nobody sent."""
    step = "RUN --mount=type=secret,id=w wc -c < /run/secrets/w > /length; sleep 3"
    files = {"Dockerfile": f"FROM {cluster.base_image}\nENV TEST={project}\n{step}\n"}
    url = cluster.git.create_repository(project, files, private=True)
    wish = {"name": project, "role": "builder", "project": project}
    token = framework.call("POST", "/api/v1/tokens", json=wish).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}

    def submit(tag: str) -> str:
        body = {
            "source": {"git": {"url": url}},
            "images": [f"{cluster.registry.address}/{project}:{tag}"],
            "project_secrets": {"w": "word"},
            "resources": {"cpus": 0.5, "mem": 512},
            "no_cache": True,
        }
        answer = framework.call("POST", "/api/v1/builds", json=body, auth=None, headers=headers)
        assert answer.status_code == 202, answer.text
        assert answer.json()["project"] == project
        build_id: str = answer.json()["id"]
        return build_id

    first, second = submit("1"), submit("2")
    framework.wait_phase(first, "BUILDING")

    def waits() -> bool:
        waiting = framework.get(second)["queue"] or {}
        return "project_limit" in [refusal["reason"] for refusal in waiting.get("refusals", [])]

    until(waits, lambda: f"it does not say that it waits for the first: {framework.get(second)}")
    assert "at its limit" in framework.get(second)["queue"]["message"]
    for build_id, tag in ((first, "1"), (second, "2")):
        framework.succeeded(build_id)
        assert pull(cluster, project, tag).files["length"] == b"21\n"
        assert "canary-of-the-project" not in framework.log(build_id)
    gone = framework.call("GET", "/api/v1/builds", auth=None, headers=headers).json()["builds"]
    assert {build["id"] for build in gone} == {first, second}, "of its project alone"
