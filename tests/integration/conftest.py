"""One framework process for all tests of this folder; each is over when its builds are."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator

import pytest

from devcluster import Cluster
from devcluster.samples import PUBLIC, sample_files
from tests.integration.harness import TERMINAL, Framework, until

PORT = 8180


@pytest.fixture(scope="session")
def framework(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Framework]:
    running = Framework(cluster, tmp_path_factory.mktemp("framework"), PORT)
    running.start()
    yield running
    if running.process is not None:
        running.end(signal.SIGTERM)


@pytest.fixture(autouse=True)
def _samples_are_left_alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """The tests of other files build them, in whatever order."""
    yield
    if "cluster" in request.fixturenames:
        cluster: Cluster = request.getfixturevalue("cluster")
        expected = sample_files(cluster.base_image)["Dockerfile"]
        assert cluster.git.read(PUBLIC, "Dockerfile") == expected, "make a repository of your own"


@pytest.fixture(autouse=True)
def _leaves_no_build_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test started is over when the next one begins, or the next would wait for it."""
    yield
    if "framework" not in request.fixturenames:
        return
    framework: Framework = request.getfixturevalue("framework")
    states = "QUEUED,STAGING,RUNNING,CANCELLING,UNREACHABLE"

    def unfinished() -> list[str]:
        builds = framework.call("GET", f"/api/v1/builds?state={states}").json()["builds"]
        return [build["id"] for build in builds if build["state"] not in TERMINAL]

    for build_id in unfinished():
        framework.call("POST", f"/api/v1/builds/{build_id}/cancel")
    until(lambda: not unfinished(), "builds of this test did not end")


@pytest.fixture
def name() -> str:
    """A fresh name for a repository and an image."""
    return f"t-{uuid.uuid4().hex[:10]}"
