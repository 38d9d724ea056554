"""Eight builds at once, four on each of two agents: nobody gets what is another's."""

from __future__ import annotations

from typing import Any

import pytest

from devcluster import Cluster
from tests.integration.harness import Framework, Json, describe, pull

pytestmark = pytest.mark.integration

MANY = 8
SHARE = {"cpus": 0.8, "mem": 704}
"""With the executor's own 0.1 cpus and 128 MiB four of them fit on an agent of the cluster, beside
executors that are about to end, and five do not."""

PATIENCE = 240.0


def dockerfile(cluster: Cluster, name: str) -> str:
    """Two steps that are the same everywhere, and may be shared, and two that are not."""
    return (
        f"FROM {cluster.base_image}\n"
        f"RUN echo {name} > /common\n"
        "RUN --mount=type=cache,target=/cache echo x >> /cache/x; sleep 2\n"
        "ARG N\n"
        "COPY own.txt /own.txt\n"
        'RUN echo "$N" > /number && cat /proc/sys/kernel/random/uuid > /unique\n'
    )


def all_right(
    framework: Framework, cluster: Cluster, asked: list[tuple[str, str, str, Json]]
) -> None:
    """Submit `(url, image, content of own.txt, fields)`; each image must be that of its request."""
    ids = [
        framework.submit(url, image, resources=SHARE, build_args={"N": image}, **fields)
        for url, image, _, fields in asked
    ]
    for build_id in ids:
        framework.wait_end(build_id, PATIENCE)
    builds = [framework.succeeded(build_id) for build_id in ids]
    images = []
    for build, (_, image, own, _) in zip(builds, asked, strict=True):
        found = pull(cluster, *image.split(":"))
        assert found.digest == build["result"]["digest"]
        assert found.files["own.txt"].decode() == own
        assert found.files["number"].decode().strip() == image
        assert len(build["attempts"]) == 1, describe(build)
        images.append(found)
    assert len({image.files["unique"] for image in images}) == len(asked)
    attempts: list[Any] = [build["attempts"][0] for build in builds]
    agents = [attempt["agent"]["id"] for attempt in attempts]
    assert sorted(agents.count(agent) for agent in set(agents)) == [4, 4]
    # All were on their agents before the first one was over.
    assert max(each["placed_at"] for each in attempts) < min(each["ended_at"] for each in attempts)


def through_the_registry(number: int) -> Json:
    """Every other build writes its cache there, too."""
    return {"registry_cache": number % 2 == 1}


def test_eight_repositories_at_once(framework: Framework, cluster: Cluster, name: str) -> None:
    """Of one owner, so that they share caches."""
    asked = []
    for number in range(MANY):
        files = {"Dockerfile": dockerfile(cluster, name), "own.txt": f"own {number}"}
        url = cluster.git.create_repository(f"{name}-{number}", files)
        image = f"{name}-{number}:1"
        asked.append((url, image, f"own {number}", through_the_registry(number)))
    all_right(framework, cluster, asked)


def test_eight_builds_of_one_repository_at_once(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    """One image with eight tags: they share a staging tag, and the cache beside the image."""
    files = {"Dockerfile": dockerfile(cluster, name), "own.txt": "own"}
    url = cluster.git.create_repository(name, files)
    asked = [(url, f"{name}:{n}", "own", through_the_registry(n)) for n in range(MANY)]
    all_right(framework, cluster, asked)
