"""One framework process for the golden suite, on the cluster of the tests."""

from __future__ import annotations

from typing import Any

import pytest

from devcluster import Cluster
from tests.integration.conftest import _leaves_no_build_behind, framework, name
from tests.integration.harness import Framework, Image, Json, pull

__all__ = ["Golden", "_leaves_no_build_behind", "framework", "golden", "name"]


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
