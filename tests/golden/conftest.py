"""One framework process for the golden suite, on the cluster of the tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster import Cluster
from tests.integration.conftest import _leaves_no_build_behind, _samples_are_left_alone, name
from tests.integration.harness import Framework, Image, Json, pull

__all__ = [
    "Golden",
    "_leaves_no_build_behind",
    "_leaves_no_executor_behind",
    "_samples_are_left_alone",
    "framework",
    "golden",
    "name",
]


PORT = 8193


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is on a real cluster; nobody has to remember to say so."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="module", autouse=True)
def _leaves_no_executor_behind(cluster: Cluster) -> Iterator[None]:
    """Other tests of this cluster count containers."""
    yield
    cluster.engine.remove_containers()


@pytest.fixture(scope="session")
def framework(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Framework]:
    """As people have it; what is left idle shall not keep its share of an agent for long."""
    settings = {"BUILDER_EXECUTOR_IDLE": "20"}
    running = Framework(cluster, tmp_path_factory.mktemp("golden"), PORT, settings)
    running.start()
    yield running
    if running.process is not None:
        running.end(signal.SIGTERM)


class Golden:
    """A repository with one Dockerfile, and the builds of it."""

    def __init__(self, framework: Framework, cluster: Cluster, name: str) -> None:
        self.framework = framework
        self.cluster = cluster
        self.name = name
        self.build: Json = {}

    def create(self, *lines: str, base: str | None = None, **files: str) -> str:
        first = f"FROM {base or self.cluster.base_image}"
        # The name keeps steps from coming out of the cache of another test.
        dockerfile = "\n".join([first, f"ENV TEST={self.name}", *lines, ""])
        return self.cluster.git.create_repository(self.name, {"Dockerfile": dockerfile, **files})

    def make(self, url: str, tag: str = "1", **options: Any) -> Image:
        """Build it; the image that is in the registry then."""
        self.build = self.framework.succeeded(
            self.framework.submit(url, f"{self.name}:{tag}", **options)
        )
        return pull(self.cluster, self.name, tag)

    def log(self) -> str:
        return self.framework.log(self.build["id"])


@pytest.fixture
def golden(framework: Framework, cluster: Cluster, name: str) -> Golden:
    return Golden(framework, cluster, name)
