"""Several registries in one build: a login for each, and an authority of the company's own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from devcluster import Cluster
from tests.golden.conftest import Golden
from tests.integration.harness import Framework, exists

pytestmark = pytest.mark.integration

PORT = 8191


@pytest.fixture(scope="module")
def trusting(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Framework]:
    """A framework whose executors trust the second registry's authority."""
    running = Framework(
        cluster,
        tmp_path_factory.mktemp("registries"),
        PORT,
        {
            "BUILDER_CA_FILE": str(cluster.second_registry.ca_file),
            "BUILDER_FRAMEWORK_NAME": "registries",
        },
    )
    running.start()
    yield running
    running.end(signal.SIGTERM)


@pytest.fixture
def repository(trusting: Framework, cluster: Cluster, name: str) -> Golden:
    return Golden(trusting, cluster, name)


def login(cluster: Cluster, **changes: str) -> dict[str, str]:
    second = cluster.second_registry
    return {
        "registry": second.address,
        "username": second.username,
        "password": second.password,
        **changes,
    }


def both(cluster: Cluster, name: str) -> list[str]:
    first, second = cluster.registry.address, cluster.second_registry.address
    return [f"{first}/{name}:1", f"{first}/{name}:latest", f"{second}/{name}:1"]


def digest_at_second(cluster: Cluster, name: str) -> str | None:
    second = cluster.second_registry
    answer = requests.head(
        f"{second.url}/v2/{name}/manifests/1",
        auth=(second.username, second.password),
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        verify=str(second.ca_file),
        timeout=30,
    )
    return answer.headers.get("Docker-Content-Digest") if answer.ok else None


def test_three_tags_on_two_registries_have_one_digest(repository: Golden, cluster: Cluster) -> None:
    url = repository.create("RUN true")
    images = both(cluster, repository.name)
    image = repository.make(url, images=images, registries=[login(cluster)])
    result = repository.build["result"]
    assert [(pushed["name"], pushed["digest"]) for pushed in result["images"]] == [
        (name, image.digest) for name in images
    ]
    assert digest_at_second(cluster, repository.name) == image.digest
    assert login(cluster)["password"] not in str(repository.build) + repository.log()


def test_nothing_is_published_where_one_registry_refuses(
    repository: Golden, cluster: Cluster
) -> None:
    url = repository.create("RUN true")
    build_id = repository.framework.submit(
        url,
        "unused:1",
        images=both(cluster, repository.name),
        registries=[login(cluster, password="wrong-canary")],
    )
    build = repository.framework.failed(build_id, "push_denied")
    assert cluster.second_registry.address in build["message"]
    assert not exists(cluster, repository.name, "1")
    assert digest_at_second(cluster, repository.name) is None


def test_base_images_have_logins_of_their_own(repository: Golden, cluster: Cluster) -> None:
    """From a registry that the image is not pushed to; and a login for pushing is none for it."""
    url = repository.create("RUN echo from there > /there")
    base = f"{cluster.second_registry.address}/{repository.name}"
    first = cluster.registry
    to_first = {
        "registry": first.address,
        "username": first.username,
        "password": first.password,
        "use": "pull",
    }
    own: dict[str, Any] = {"registries": [login(cluster), to_first]}
    framework = repository.framework
    framework.succeeded(framework.submit(url, "unused:1", images=[f"{base}:1"], **own))
    other = cluster.git.create_repository(
        f"{repository.name}-2", {"Dockerfile": f"FROM {base}:1\nRUN cat /there > /here\n"}
    )
    image = repository.make(other, "2", registries=[login(cluster, use="pull")])
    assert image.files["here"] == b"from there\n"
    refused = framework.submit(
        other, f"{repository.name}:3", registries=[login(cluster, use="push")]
    )
    framework.failed(refused, "base_image_failed")
