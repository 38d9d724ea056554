"""What builds write to their agent: a disk that they fill, a limit, and nothing that stays."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import Cluster
from tests.integration.harness import Framework, Json, until

PORT = 8199
SIZE = 1536
"""MiB. Five percent of it have to stay free."""

FILL = (
    "dd if=/dev/zero of=/much bs=1M count=900 2>/dev/null; "
    "n=0; while dd if=/dev/zero of=/more$n bs=1M count=4 2>/dev/null; do "
    "n=$((n + 1)); sleep 0.2; done"
)
"""Much of it at once, then some 20 MiB a second for as long as there is room."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of its own, for the caches of both agents."""
    folder = tmp_path_factory.mktemp("disk")
    image, mounted = folder / "image", folder / "mounted"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE << 20)
    for argv in (
        ["mkfs.ext4", "-q", "-m", "0", str(image)],
        ["mount", "-o", "loop", str(image), str(mounted)],
    ):
        subprocess.run(argv, check=True, capture_output=True)
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)
    image.unlink()


@pytest.fixture(scope="module")
def framework(
    cluster: Cluster, disk: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Framework]:
    settings = {
        "BUILDER_FRAMEWORK_NAME": "disk",
        "BUILDER_CACHE_PATH": str(disk),
        "BUILDER_CACHE_SHARING": "repository",
        "BUILDER_EXECUTOR_IDLE": "20",
    }
    running = Framework(cluster, tmp_path_factory.mktemp("full"), PORT, settings)
    running.start()
    yield running
    running.end(signal.SIGTERM)
    cluster.engine.remove_containers()


def repository(cluster: Cluster, name: str, *lines: str) -> str:
    dockerfile = "\n".join([f"FROM {cluster.base_image}", f"ENV TEST={name}", *lines, ""])
    return cluster.git.create_repository(name, {"Dockerfile": dockerfile})


def runs(framework: Framework, build_id: str) -> None:
    """Wait until its step does."""
    framework.wait_for(build_id, lambda _: " it runs\n" in framework.log(build_id), "in its step")


def is_ended_for_the_disk(build: Json) -> None:
    assert (build["state"], build["reason"]) == ("FAILED", "disk_full"), build["message"]
    assert "MiB left" in build["message"]
    assert "== BUILDING" in "".join(build["log"]["tail"]) or build["phase"] == "BUILDING"


@pytest.mark.slow
def test_the_engine_that_fills_the_disk_loses_its_build(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    """On either agent; that of another repository builds on, and writes at the end."""
    calm = "echo it runs; sleep 45; dd if=/dev/zero of=/some bs=1M count=20"
    other = framework.submit(repository(cluster, name, f"RUN {calm}"), f"{name}:1")
    runs(framework, other)
    url = repository(cluster, f"{name}-f", f"RUN {FILL}")
    filling = framework.submit(url, f"{name}:2", max_attempts=1)
    is_ended_for_the_disk(framework.wait_end(filling))
    assert framework.get(other)["state"] == "RUNNING", "the test is too slow to show anything"
    assert len(framework.succeeded(other)["attempts"]) == 1


@pytest.mark.slow
def test_of_two_builds_in_an_engine_the_younger_one_ends(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    """Its attempt counts as the agent's failure; the older one and its executor go on."""
    step = f'RUN echo it runs; if [ "$WHO" = calm ]; then sleep 45; else {FILL}; fi'
    url = repository(cluster, name, "ARG WHO", step)
    rack = {"constraints": [["rack", "EQUALS", "a"]]}
    calm = framework.submit(url, f"{name}:1", build_args={"WHO": "calm"}, **rack)
    runs(framework, calm)
    filling = framework.submit(
        url, f"{name}:2", build_args={"WHO": "filler"}, max_attempts=1, **rack
    )
    ended = framework.wait_end(filling)
    is_ended_for_the_disk(ended)
    assert framework.get(calm)["state"] == "RUNNING", "the test is too slow to show anything"
    done = framework.succeeded(calm)
    assert len(done["attempts"]) == 1
    assert done["attempts"][0]["executor"] == ended["attempts"][0]["executor"]


def test_a_build_is_held_to_the_disk_it_asked_for(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    """By what it writes itself, not by what was there; it is not tried again."""
    write = "RUN dd if=/dev/zero of=/some bs=1M count=$MIB && echo it runs && sleep 6"
    url = repository(cluster, name, "ARG MIB", write)
    rack = {"constraints": [["rack", "EQUALS", "a"]]}
    for tag, mib, disk, enough in (("1", 60, 40, False), ("2", 60, 400, True), ("3", 1, 40, True)):
        options = {"build_args": {"MIB": str(mib)}, "resources": {"disk": disk}, **rack}
        build_id = framework.submit(url, f"{name}:{tag}", **options)
        if enough:
            framework.succeeded(build_id)
        else:
            build = framework.failed(build_id, "disk_exceeded")
            assert "its resources.disk is 40 MiB" in build["message"]
            assert len(build["attempts"]) == 1


@pytest.mark.slow
def test_a_build_without_a_cache_begins_cold_and_leaves_nothing(
    framework: Framework, cluster: Cluster, disk: Path, name: str
) -> None:
    """Beside another one, with a cache, whose cache stays as it was."""
    url = repository(cluster, name, "RUN echo once")
    rack = {"constraints": [["rack", "EQUALS", "a"]]}
    framework.succeeded(framework.submit(url, f"{name}:1", **rack))
    cold = framework.succeeded(framework.submit(url, f"{name}:2", cache="none", **rack))
    assert cold["result"]["steps"] == {"total": 1, "cached": 0}
    warm = framework.succeeded(framework.submit(url, f"{name}:3", **rack))
    assert warm["result"]["steps"] == {"total": 1, "cached": 1}
    until(lambda: not list(disk.glob("none/*/*")), "its directory is still there")
