"""Each engine builds the same image, and the one without privilege has none."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from devcluster import Cluster
from tests.golden.conftest import Golden
from tests.integration.harness import Framework, pull

PORT = 8198


@pytest.fixture(scope="module")
def rootless(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Framework]:
    settings = {
        "BUILDER_FRAMEWORK_NAME": "rootless",
        "BUILDER_ENGINES": "rootless",
        "BUILDER_EXECUTOR_IDLE": "20",
        "BUILDER_REPOSITORY_PROGRAMS": "request",
    }
    running = Framework(cluster, tmp_path_factory.mktemp("rootless"), PORT, settings)
    running.start()
    yield running
    running.end(signal.SIGTERM)


def test_a_build_without_privilege(golden: Golden, rootless: Framework) -> None:
    """Mounts, secrets and the cache are there; root is an ordinary user of a container without."""
    cluster, name = golden.cluster, golden.name
    url = golden.create(
        "RUN cat /proc/self/uid_map > /uid_map",
        "RUN --mount=type=cache,target=/cache echo kept > /cache/file && cp /cache/file /kept",
        "RUN --mount=type=secret,id=token wc -c < /run/secrets/token > /length",
        f"RUN wget -q -O /reached {cluster.git.url}/ 2> /reached; true",
    )
    options = {"engine": "rootless", "secrets": {"token": "canary-of-rootless"}}
    rack = {"constraints": [["rack", "EQUALS", "a"]]}
    first = rootless.succeeded(rootless.submit(url, f"{name}:1", **options, **rack))
    image = pull(cluster, name, "1")
    assert image.digest == first["result"]["digest"]
    assert image.files["uid_map"].split()[1] != b"0", "root here is root on the agent"
    assert (image.files["kept"], image.files["length"]) == (b"kept\n", b"18\n")
    assert b"404" in image.files["reached"], "the git server has nothing at its root, but answers"
    executor = first["attempts"][0]["executor"]
    words = ("ps", "--quiet", "--filter", f"label=builder.executor={executor}")
    container = cluster.engine.docker(*words).strip()
    config = json.loads(cluster.engine.docker("inspect", container))[0]["HostConfig"]
    assert config["Privileged"] is False
    assert not config["CapAdd"]
    assert not config["Devices"]
    again = rootless.succeeded(rootless.submit(url, f"{name}:2", **options, **rack))
    assert again["attempts"][0]["executor"] == executor
    assert again["result"]["timings"]["engine"] == 0
    assert again["result"]["steps"]["cached"] == again["result"]["steps"]["total"]


def test_the_same_image_whichever_engine(golden: Golden, rootless: Framework) -> None:
    url = golden.create("RUN echo made > /made")
    images = []
    for engine in ("nested", "rootless"):
        tag = f"{golden.name}:{engine}"
        rootless.succeeded(rootless.submit(url, tag, engine=engine, timestamp="source"))
        images.append(pull(golden.cluster, golden.name, engine))
    nested, without = images
    assert nested.files == without.files
    version = "org.opencontainers.image.version"
    for image in images:
        image.config["config"]["Labels"].pop(version)
    assert nested.config["config"] == without.config["config"]


def test_programs_of_the_repository_need_a_network_of_their_own(
    golden: Golden, rootless: Framework
) -> None:
    body = rootless.body(golden.create(), f"{golden.name}:1", engine="rootless", hooks=True)
    answer = rootless.call("POST", "/api/v1/builds", json=body)
    assert answer.status_code == 400
    assert "nested" in answer.text
