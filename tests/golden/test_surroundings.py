"""The operator's network: a proxy, a mirror of Docker Hub, a registry that asks for patience."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from devcluster import Cluster
from tests.golden.conftest import Golden
from tests.integration.faulty_proxy import RETRY_AFTER, Fault, FaultyProxy
from tests.integration.harness import Framework

pytestmark = pytest.mark.integration

PORT = 8194
PASSWORD = "canary-9sVt3"


def puts_the_tag(method: str, path: str) -> bool:
    """Not a staging tag, and no digest."""
    return method == "PUT" and path.endswith("/manifests/1")


@dataclass(frozen=True)
class Network:
    """`proxy` knows the way everywhere; `busy` is the registry, and refuses the first tag."""

    proxy: FaultyProxy
    busy: FaultyProxy
    framework: Framework


@pytest.fixture(scope="module")
def network(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    host, registry = cluster.address, cluster.registry.address
    with (
        FaultyProxy(registry, host=host) as proxy,
        FaultyProxy(registry, Fault.TOO_MANY, chosen=puts_the_tag, host=host) as busy,
    ):
        settings = {
            "BUILDER_HTTP_PROXY": f"http://me:{PASSWORD}@{proxy.address}",
            "BUILDER_NO_PROXY": f"{registry},{busy.address}",
            "BUILDER_INSECURE_REGISTRIES": f"{registry},{busy.address}",
            "BUILDER_REGISTRY_MIRRORS": f"http://{registry}",
            "BUILDER_FRAMEWORK_NAME": "surroundings",
        }
        folder = tmp_path_factory.mktemp("surroundings")
        framework = Framework(cluster, folder, PORT, settings)
        framework.start()
        yield Network(proxy, busy, framework)
        framework.end(signal.SIGTERM)


@pytest.fixture
def repository(network: Network, cluster: Cluster, name: str) -> Golden:
    return Golden(network.framework, cluster, name)


def test_proxies_reach_git_and_steps_but_no_image(network: Network, repository: Golden) -> None:
    """As Docker's predefined build arguments, in either case of the letters."""
    url = repository.create('RUN echo "$http_proxy $HTTP_PROXY" > /proxies; echo "<$http_proxy>"')
    image = repository.make(url)
    proxy = f"http://me:{PASSWORD}@{network.proxy.address}"
    assert image.files["proxies"].decode().split() == [proxy, proxy]
    assert network.proxy.address not in json.dumps([image.config, image.manifest])
    cloned = [seen.path for seen in network.proxy.seen if f"/{repository.name}.git/" in seen.path]
    assert cloned
    assert PASSWORD not in repository.log() + json.dumps(repository.build)
    assert "***" in repository.log()


def test_a_mirror_is_asked_for_the_images_of_docker_hub(
    repository: Golden, cluster: Cluster
) -> None:
    mirrored = f"{cluster.registry.address}/library/{repository.name}:1"
    cluster.engine.docker("tag", cluster.base_image, mirrored)
    cluster.engine.docker("push", "--quiet", mirrored)
    image = repository.make(repository.create("RUN echo x > /x", base=f"{repository.name}:1"))
    assert image.files["x"] == b"x\n"
    assert "bin/busybox" in image.files


def test_a_registry_that_asks_for_patience_gets_it(
    network: Network, repository: Golden, cluster: Cluster
) -> None:
    """429 with Retry-After, for the put of the tag: waited for, and nothing is built again."""
    images = [f"{network.busy.address}/{repository.name}:1"]
    login = {"username": cluster.registry.username, "password": cluster.registry.password}
    base = {"registry": cluster.registry.address, "use": "pull", **login}
    repository.make(repository.create("RUN true"), images=images, registries=[base])
    puts = [seen for seen in network.busy.seen if puts_the_tag(seen.method, seen.path)]
    assert [seen.status for seen in puts] == [None, 201]
    assert puts[1].at - puts[0].at >= RETRY_AFTER
    assert len(repository.build["attempts"]) == 1
    assert repository.log().count("== BUILDING") == 1
