"""Executors that live on: a warm engine, shared by builds, and an end by itself."""

from __future__ import annotations

import time
from functools import partial

import pytest

from devcluster import Cluster
from tests.golden.conftest import Golden
from tests.integration.harness import Framework, Json, until

pytestmark = pytest.mark.integration


def executor_of(framework: Framework, build: Json) -> str:
    """The id of the executor of a build's last attempt."""
    found: str = framework.get(build["id"])["attempts"][-1]["executor"]
    return found


def container_of(cluster: Cluster, executor_id: str) -> str:
    words = ("--filter", f"label=builder.executor={executor_id}")
    return cluster.engine.docker("ps", "--quiet", "--no-trunc", *words).strip()


def memory_limit(cluster: Cluster, container: str) -> int:
    """MiB that the kernel allows the container."""
    files = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    text = cluster.engine.docker("exec", container, "sh", "-c", f"cat {files} 2>/dev/null || true")
    return int(text.split()[0]) >> 20


def _is_in_its_step(framework: Framework, build: Json) -> bool:
    return "it is " in framework.log(build["id"]).partition("RUN")[2].partition("\n")[2]


def test_the_next_build_finds_its_engine_running(golden: Golden, cluster: Cluster) -> None:
    url = golden.create("RUN echo once")
    golden.make(url, "1")
    executor = executor_of(golden.framework, golden.build)
    golden.make(url, "2")
    assert executor_of(golden.framework, golden.build) == executor
    assert golden.build["result"]["timings"]["engine"] == 0
    assert golden.build["result"]["steps"] == {"total": 1, "cached": 1}
    assert f"== {golden.build['id']}" not in golden.log()
    assert container_of(cluster, executor)


def test_builds_at_the_same_time_share_an_executor_and_its_memory_grows(
    golden: Golden, cluster: Cluster
) -> None:
    """Each has a log of its own, and the container may use what all of them asked for."""
    framework = golden.framework
    agent = {"constraints": [["rack", "EQUALS", "a"]], "resources": {"mem": 512}}
    url = golden.create("ARG WHO", "RUN echo it is $WHO; sleep 8")
    builds = [
        framework.submit(url, f"{golden.name}:{who}", build_args={"WHO": who}, **agent)
        for who in ("ann", "bob")
    ]
    for build_id in builds:
        framework.wait_for(build_id, partial(_is_in_its_step, framework), "its step")
    ann, bob = (executor_of(framework, framework.get(build_id)) for build_id in builds)
    assert ann == bob
    assert memory_limit(cluster, container_of(cluster, ann)) >= 2 * 512
    for build_id in builds:
        framework.succeeded(build_id)
    logs = [framework.log(build_id) for build_id in builds]
    assert "it is bob" not in logs[0]
    assert "it is ann" not in logs[1]


def test_a_cancelled_build_takes_no_other_with_it(golden: Golden, cluster: Cluster) -> None:
    framework = golden.framework
    agent = {"constraints": [["rack", "EQUALS", "a"]]}
    url = golden.create("ARG WHO", "RUN echo it is $WHO; sleep 5")
    stays, goes = (
        framework.submit(url, f"{golden.name}:{who}", build_args={"WHO": who}, **agent)
        for who in ("ann", "bob")
    )
    framework.wait_for(goes, lambda _: "it is bob" in framework.log(goes), "in its step")
    framework.cancel(goes)
    framework.wait_state(goes, "CANCELLED")
    build = framework.succeeded(stays)
    assert len(build["attempts"]) == 1
    assert executor_of(framework, build) == executor_of(framework, framework.get(goes))


@pytest.mark.slow
def test_an_idle_executor_ends_by_itself(golden: Golden, cluster: Cluster) -> None:
    """As the framework tells it to; it would a minute later without being told."""
    golden.make(golden.create(), "1")
    executor = executor_of(golden.framework, golden.build)
    began = time.monotonic()
    assert container_of(cluster, executor)
    until(lambda: not container_of(cluster, executor), "the executor lives on", 60.0)
    assert time.monotonic() - began > 5, "no other build had a chance"


def test_an_engine_that_heard_a_secret_forgets_it(golden: Golden) -> None:
    """It starts anew for the next build, with its cache."""
    url = golden.create("RUN --mount=type=secret,id=token cat /run/secrets/token", "RUN echo done")
    golden.make(url, "1", secrets={"token": "canary-of-lived-executors"})
    executor = executor_of(golden.framework, golden.build)
    golden.make(url, "2", secrets={"token": "canary-of-lived-executors"})
    assert executor_of(golden.framework, golden.build) == executor
    assert golden.build["result"]["timings"]["engine"] > 0
    assert golden.build["result"]["steps"]["cached"] == 2
