"""The Drone plugin as Drone runs it: in the workspace, with nothing but its environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devcluster import Cluster
from devcluster.config import REPOSITORY
from tests.integration.harness import PASSWORD, USER, Framework, exists, pull, until

pytestmark = pytest.mark.integration


class Step:
    """A step of a pipeline, from its settings to its end."""

    def __init__(self, framework: Framework, folder: Path, **settings: str) -> None:
        registry = framework.cluster.registry
        self._log = folder.parent / "step.log"
        environment = {
            "PATH": os.environ["PATH"],
            # Where an image has it installed.
            "PYTHONPATH": str(REPOSITORY),
            "PLUGIN_BUILDER_URL": framework.url,
            "PLUGIN_BUILDER_USERNAME": USER,
            "PLUGIN_BUILDER_PASSWORD": PASSWORD,
            "PLUGIN_REGISTRY": registry.address,
            "PLUGIN_USERNAME": registry.username,
            "PLUGIN_PASSWORD": registry.password,
            "DRONE_REPO": "team/app",
            "DRONE_REPO_BRANCH": "main",
            "DRONE_BUILD_NUMBER": "7",
            "DRONE_COMMIT_SHA": "c" * 40,
            "DRONE_COMMIT_REF": "refs/tags/v1.2.3",
            "PLUGIN_REQUEST": '{"resources": {"cpus": 0.5, "mem": 512}}',
            **settings,
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "plugins.drone"],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait(self) -> int:
        return self.process.wait(timeout=120)


@pytest.fixture
def workspace(cluster: Cluster, name: str, tmp_path: Path) -> Path:
    """What is left of the steps before: a file that no repository has."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    lines = [f"FROM {cluster.base_image}", f"ENV TEST={name}", "ARG WORD", "COPY made /made"]
    (folder / "Dockerfile").write_text("\n".join([*lines, "RUN echo the word is $WORD", ""]))
    (folder / "made").write_text("by a step before")
    return folder


def test_a_step_ends_with_the_image(
    framework: Framework, cluster: Cluster, name: str, workspace: Path
) -> None:
    step = Step(
        framework,
        workspace,
        PLUGIN_REPO=f"{cluster.registry.address}/{name}",
        PLUGIN_AUTO_TAG="true",
        PLUGIN_BUILD_ARGS="WORD=sesame",
        PLUGIN_ARTIFACT_FILE="artifact.json",
        DRONE_CARD_PATH=str(workspace / "card.json"),
    )
    assert step.wait() == 0, step.log
    assert "the word is sesame" in step.log
    image = pull(cluster, name, "1.2.3")
    assert image.files["made"] == b"by a step before"
    assert image.config["config"]["Labels"]["org.opencontainers.image.revision"] == "c" * 40
    assert {pull(cluster, name, tag).digest for tag in ("1", "1.2")} == {image.digest}
    assert not exists(cluster, name, "latest")
    artifact = json.loads((workspace / "artifact.json").read_text())
    images = {
        each["image"].rpartition(":")[2]: each["digest"] for each in artifact["data"]["images"]
    }
    assert images == dict.fromkeys(("1", "1.2", "1.2.3"), image.digest)
    card = json.loads((workspace / "card.json").read_text())
    assert card["data"]["Id"] == image.digest
    for secret in (PASSWORD, cluster.registry.password):
        assert secret not in step.log


def test_a_step_fails_as_its_build_does(
    framework: Framework, cluster: Cluster, name: str, workspace: Path
) -> None:
    with (workspace / "Dockerfile").open("a") as file:
        file.write("RUN echo now it breaks && exit 7\n")
    step = Step(framework, workspace, PLUGIN_REPO=f"{cluster.registry.address}/{name}")
    assert step.wait() == 1
    assert "now it breaks" in step.log
    assert "FAILED (step_failed)" in step.log
    assert not exists(cluster, name, "latest")


def test_a_step_that_is_killed_takes_its_build_with_it(
    framework: Framework, cluster: Cluster, name: str, workspace: Path
) -> None:
    with (workspace / "Dockerfile").open("a") as file:
        file.write("RUN echo it runs && sleep 120\n")
    step = Step(framework, workspace, PLUGIN_REPO=f"{cluster.registry.address}/{name}")
    until(lambda: "it runs\n" in step.log, lambda: step.log)
    os.kill(step.process.pid, signal.SIGTERM)
    assert step.wait() == 128 + signal.SIGTERM
    (build,) = framework.call("GET", "/api/v1/builds?label=ci.repo:team/app&limit=1").json()[
        "builds"
    ]
    assert framework.wait_end(build["id"])["state"] == "CANCELLED"
    assert "is cancelled" in step.log


@pytest.mark.slow
def test_a_step_that_cannot_say_so_takes_its_build_with_it(
    framework: Framework, cluster: Cluster, name: str, workspace: Path
) -> None:
    """Drone's runner kills steps with SIGKILL."""
    with (workspace / "Dockerfile").open("a") as file:
        file.write("RUN echo it runs && sleep 200\n")
    asked = '{"resources": {"cpus": 0.5, "mem": 512}, "attended": 30}'
    repo = f"{cluster.registry.address}/{name}"
    step = Step(framework, workspace, PLUGIN_REPO=repo, PLUGIN_REQUEST=asked, DRONE_REPO=name)
    until(lambda: "it runs\n" in step.log, lambda: step.log)
    time.sleep(45)
    (build,) = framework.call("GET", f"/api/v1/builds?label=ci.repo:{name}").json()["builds"]
    assert build["state"] == "RUNNING", "it is followed"
    step.process.kill()
    step.process.wait()
    ended = framework.wait_end(build["id"])
    assert (ended["state"], ended["reason"]) == ("CANCELLED", "unattended")


def test_a_step_says_what_is_wrong_with_its_settings(framework: Framework, workspace: Path) -> None:
    step = Step(framework, workspace, PLUGIN_REPO="no/such image")
    assert step.wait() == 2
    assert "images.0" in step.log
