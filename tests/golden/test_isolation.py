"""Each engine builds the same image, the one without privilege has none, and some leave nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import Cluster
from tests.golden.conftest import Golden
from tests.integration.harness import Framework, pull, until

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


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where agents keep them, for all to see."""
    folder = tmp_path_factory.mktemp("caches")
    folder.chmod(0o711)
    return folder


@pytest.fixture(scope="module")
def sharing(
    cluster: Cluster, caches: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Framework]:
    settings = {
        "BUILDER_FRAMEWORK_NAME": "sharing",
        "BUILDER_CACHE_PATH": str(caches),
        "BUILDER_ENGINES": "rootless",
        "BUILDER_EXECUTOR_IDLE": "20",
    }
    running = Framework(cluster, tmp_path_factory.mktemp("sharing"), PORT + 3, settings)
    running.start()
    yield running
    running.end(signal.SIGTERM)


@pytest.mark.parametrize("engine", ["nested", pytest.param("rootless", marks=pytest.mark.slow)])
def test_a_build_without_caches_finds_none_and_leaves_none(
    golden: Golden, sharing: Framework, caches: Path, engine: str
) -> None:
    """Neither layers, nor what cache mounts hold, nor a mirror of the repository."""
    sees = "cp /c/who /who || echo nobody > /who; echo $WHO > /c/who"
    url = golden.create("ARG WHO", f"RUN --mount=type=cache,target=/c {sees}")
    rack = {"constraints": [["rack", "EQUALS", "a"]]}
    who = []
    for tag, cache in (("1", "shared"), ("2", "none"), ("3", "shared")):
        options = {"cache": cache, "engine": engine, "build_args": {"WHO": tag}, **rack}
        build = sharing.submit(url, f"{golden.name}:{tag}", **options)
        done = sharing.succeeded(build)
        who.append(pull(golden.cluster, golden.name, tag).files["who"])
        assert ("was here" in sharing.log(build)) == (cache == "shared"), "a mirror tells"
        if cache == "none":
            assert done["result"]["steps"]["cached"] == 0
            until(lambda: not list(caches.glob("none*/*/*")), "all of it is gone")
    assert who == [b"nobody\n", b"nobody\n", b"1\n"]


def test_what_a_killed_build_without_caches_leaves_goes_with_the_next_build(
    golden: Golden, sharing: Framework, caches: Path
) -> None:
    url = golden.create("RUN echo it runs && sleep 300")
    rack = {"constraints": [["rack", "EQUALS", "a"]]}
    killed = sharing.submit(url, f"{golden.name}:1", cache="none", max_attempts=1, **rack)
    sharing.wait_for(killed, lambda _: " it runs\n" in sharing.log(killed), "in its step")
    label = f"label=builder.build={killed}"
    container = golden.cluster.engine.docker("ps", "--quiet", "--filter", label).strip()
    golden.cluster.engine.docker("kill", container)
    assert sharing.wait_end(killed)["state"] == "FAILED"
    assert list(caches.glob("none/engines/*/docker"))
    other = golden.cluster.git.create_repository(
        f"{golden.name}-o", {"Dockerfile": f"FROM {golden.cluster.base_image}\nRUN true\n"}
    )
    sharing.succeeded(sharing.submit(other, f"{golden.name}:2", exclusive=True, **rack))
    assert not list(caches.glob("none/engines/*"))


def test_a_directory_that_the_engine_without_privilege_cannot_enter_is_named(
    golden: Golden, sharing: Framework, caches: Path
) -> None:
    # In an executor of its own: one that runs already has entered.
    alone = {"engine": "rootless", "exclusive": True, "max_attempts": 1}
    caches.chmod(0o700)
    try:
        build = sharing.submit(golden.create("RUN true"), f"{golden.name}:1", **alone)
        failed = sharing.failed(build, "engine_failed")
        assert "/var/lib/builder" in failed["message"]
        assert "chmod o+x" in failed["message"]
    finally:
        caches.chmod(0o711)
