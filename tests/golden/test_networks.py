"""Builds on the cluster's own networks and volumes."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devcluster import Cluster
from devcluster.errors import ClusterError
from tests.golden.volume_plugin import VolumePlugin
from tests.integration.harness import Framework, pull, until

PORT = 8197


@contextmanager
def framework_with(
    cluster: Cluster, tmp_path: Path, **settings: str
) -> Iterator[tuple[Framework, str]]:
    """A framework of its own, and a name that nobody else uses."""
    name = f"n-{uuid.uuid4().hex[:8]}"
    told = {"BUILDER_FRAMEWORK_NAME": name, **settings}
    framework = Framework(cluster, tmp_path, PORT, told)
    framework.start()
    try:
        yield framework, name
    finally:
        framework.end(signal.SIGTERM)


def removed(cluster: Cluster, *words: str) -> None:
    """As soon as the executor's container, which ends by itself, uses it no more."""

    def is_removed() -> bool:
        try:
            cluster.engine.docker(*words)
        except ClusterError:
            return False
        return True

    until(is_removed, f"docker {words} fails")


def repository(cluster: Cluster, name: str, *steps: str) -> str:
    lines = [f"FROM {cluster.base_image}", f"ENV TEST={name}", *(f"RUN {step}" for step in steps)]
    return cluster.git.create_repository(name, {"Dockerfile": "\n".join([*lines, ""])})


@pytest.fixture
def network(cluster: Cluster) -> Iterator[str]:
    """A Docker network on which the name `only-here` is a web server."""
    docker, name = cluster.engine.docker, f"net-{uuid.uuid4().hex[:8]}"
    docker("network", "create", name)
    serve = "mkdir /w && echo from the network > /w/index.html && httpd -f -h /w"
    words = ("--network", name, "--network-alias", "only-here", cluster.base_image)
    server = docker("run", "--detach", "--rm", *words, "sh", "-c", serve).strip()
    try:
        yield name
    finally:
        docker("rm", "--force", server)
        removed(cluster, "network", "rm", name)


def test_a_network_of_the_cluster_and_its_names(
    cluster: Cluster, tmp_path: Path, network: str
) -> None:
    """RUN resolves what only the network's own name server knows."""
    with framework_with(cluster, tmp_path, BUILDER_EXECUTOR_NETWORK=network) as (framework, name):
        url = repository(cluster, name, "wget -q -O /answer http://only-here/")
        framework.succeeded(framework.submit(url, f"{name}:1"))
        assert pull(cluster, name, "1").files["answer"] == b"from the network\n"


def test_a_network_that_a_build_asks_for(cluster: Cluster, tmp_path: Path, network: str) -> None:
    """Within what the operator allows."""
    settings = {"BUILDER_EXECUTOR_NETWORKS": network}
    with framework_with(cluster, tmp_path, **settings) as (framework, name):
        found = "wget -q -O /answer http://only-here/ || echo unknown > /answer"
        url = repository(cluster, name, found)
        usual = framework.submit(url, f"{name}:1")
        asked = framework.submit(url, f"{name}:2", executor_network=network, no_cache=True)
        for build in (usual, asked):
            framework.succeeded(build)
        answers = [pull(cluster, name, tag).files["answer"] for tag in "12"]
        assert answers == [b"unknown\n", b"from the network\n"]
        body = framework.body(url, f"{name}:3", executor_network="HOST")
        refused = framework.call("POST", "/api/v1/builds", json=body)
        assert refused.status_code == 400
        assert f"BRIDGE and {network} (BUILDER_EXECUTOR_NETWORKS)" in refused.text


def test_name_servers_of_the_operator(cluster: Cluster, tmp_path: Path) -> None:
    settings = {
        "BUILDER_EXECUTOR_DNS": "192.0.2.53",
        "BUILDER_EXECUTOR_DNS_SEARCH": "corp.example",
        "BUILDER_EXECUTOR_DNS_OPTIONS": "ndots:2",
    }
    with framework_with(cluster, tmp_path, **settings) as (framework, name):
        url = repository(cluster, name, "cat /etc/resolv.conf > /resolv")
        framework.succeeded(framework.submit(url, f"{name}:1"))
        told = pull(cluster, name, "1").files["resolv"].decode()
    assert "nameserver 192.0.2.53" in told
    assert "search corp.example" in told
    assert "ndots:2" in told


def test_caches_on_a_volume_of_another_driver(cluster: Cluster, tmp_path: Path) -> None:
    """It is made with the operator's options, and holds the cache from build to build."""
    folder = tmp_path / "volumes"
    folder.mkdir()
    plugin = VolumePlugin(f"bf-{uuid.uuid4().hex[:8]}", folder)
    settings = {
        "BUILDER_VOLUME_DRIVER": plugin.name,
        "BUILDER_VOLUME_OPTIONS": "size=5,fs=ext4",
        "BUILDER_VOLUME_PREFIX": plugin.name,
    }
    with (
        plugin.serving(),
        framework_with(cluster, tmp_path / "data", **settings) as (framework, name),
    ):
        url = repository(cluster, name, "echo once")
        rack = {"constraints": [["rack", "EQUALS", "a"]]}
        for tag, cached in (("1", 0), ("2", 1)):
            build = framework.succeeded(framework.submit(url, f"{name}:{tag}", **rack))
            assert build["result"]["steps"] == {"total": 1, "cached": cached}
        assert list(plugin.made.values()) == [{"size": "5", "fs": "ext4"}]
        (volume,) = plugin.made
        assert list((folder / volume).glob("*/engines/*/docker"))
        removed(cluster, "volume", "rm", volume)


@pytest.mark.slow
def test_caches_in_a_named_volume(cluster: Cluster, tmp_path: Path) -> None:
    """Of Docker's own driver, one for each agent, with the prefix that the operator gave."""
    prefix, docker = f"v-{uuid.uuid4().hex[:8]}", cluster.engine.docker
    with framework_with(cluster, tmp_path, BUILDER_VOLUME_PREFIX=prefix) as (framework, name):
        url = repository(cluster, name, "echo once")
        rack = {"constraints": [["rack", "EQUALS", "a"]]}
        for tag, cached in (("1", 0), ("2", 1)):
            build = framework.succeeded(framework.submit(url, f"{name}:{tag}", **rack))
            assert build["result"]["steps"] == {"total": 1, "cached": cached}
        words = ("volume", "ls", "--filter", f"name={prefix}", "--format", "{{.Driver}} {{.Name}}")
        (line,) = docker(*words).splitlines()
        driver, volume = line.split()
        assert driver == "local"
        removed(cluster, "volume", "rm", volume)


def test_caches_in_a_directory_of_the_host(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "caches"
    folder.mkdir()
    settings = {"BUILDER_CACHE_PATH": str(folder)}
    with framework_with(cluster, tmp_path / "data", **settings) as (framework, name):
        url = repository(cluster, name, "echo once")
        for tag, cached in (("1", 0), ("2", 1)):
            build = framework.succeeded(framework.submit(url, f"{name}:{tag}"))
            assert build["result"]["steps"] == {"total": 1, "cached": cached}
    assert list(folder.glob("*/engines/*/docker"))


@pytest.mark.slow
def test_a_build_may_choose_its_engine_and_to_be_alone(cluster: Cluster, tmp_path: Path) -> None:
    """Within what the operator allows."""
    settings = {
        "BUILDER_ENGINES": "socket",
        "BUILDER_EXECUTOR_IDLE": "20",
        "BUILDER_DOCKER_SOCKET": cluster.engine.docker_host.removeprefix("unix://"),
    }
    with framework_with(cluster, tmp_path, **settings) as (framework, name):
        url = repository(cluster, name, "echo once")
        one = framework.succeeded(framework.submit(url, f"{name}:1", engine="socket"))
        assert one["result"]["timings"]["engine"] == 0, "it runs already"
        shared = framework.succeeded(framework.submit(url, f"{name}:2"))
        alone = framework.succeeded(framework.submit(url, f"{name}:3", exclusive=True))
        executors = [build["attempts"][0]["executor"] for build in (one, shared, alone)]
        assert len(set(executors)) == 3
        refused = framework.call(
            "POST", "/api/v1/builds", json=framework.body(url, f"{name}:4", engine="rootless")
        )
        assert refused.status_code == 400
        assert "engine" in refused.text
