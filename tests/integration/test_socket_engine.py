"""Builds with the agent's own engine, when the operator chose that."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from devcluster import Cluster
from devcluster.samples import PUBLIC
from tests.integration.conftest import PORT
from tests.integration.harness import Framework, pull, until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def on_socket(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Framework]:
    settings = {
        "BUILDER_ENGINE": "socket",
        "BUILDER_DOCKER_SOCKET": cluster.engine.docker_host.removeprefix("unix://"),
        "BUILDER_FRAMEWORK_NAME": "builder-socket",
    }
    directory = tmp_path_factory.mktemp("socket")
    running = Framework(cluster, directory, PORT + 1, settings)
    running.start()
    yield running
    running.end(signal.SIGTERM)


def test_the_agents_engine_builds_and_pushes(
    on_socket: Framework, cluster: Cluster, name: str
) -> None:
    build = on_socket.succeeded(on_socket.submit(cluster.git.clone_url(PUBLIC), f"{name}:1"))
    image = pull(cluster, name, "1")
    assert build["result"]["digest"] == image.digest
    assert image.files["message.txt"] == b"hello\nbuilt by builder-framework\n"


def test_a_cancelled_build_leaves_nothing_running_on_the_agents_engine(
    on_socket: Framework, cluster: Cluster, name: str
) -> None:
    dockerfile = f"FROM {cluster.base_image}\nENV TEST={name}\nRUN echo it runs && sleep 60\n"
    url = cluster.git.create_repository(name, {"Dockerfile": dockerfile})
    build_id = on_socket.submit(url, f"{name}:1")
    until(lambda: "it runs" in on_socket.log(build_id), "the build does not run")
    on_socket.cancel(build_id)
    on_socket.wait_state(build_id, "CANCELLED")
    until(
        lambda: not cluster.engine.docker("ps", "--quiet").strip(),
        "a container is still there",
    )
