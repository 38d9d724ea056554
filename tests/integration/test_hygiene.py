"""What builds leave on their agents, however they end, and what they may take there."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster import Cluster
from tests.integration.conftest import PORT
from tests.integration.harness import Framework, paused, until

pytestmark = pytest.mark.integration

BOUND = 60.0
"""Seconds in which nothing of a dead build may be left; it takes two or three."""

CACHE_KEEP_MB = 40


@pytest.fixture(scope="module", params=["nested", pytest.param("socket", marks=pytest.mark.slow)])
def lean(
    request: pytest.FixtureRequest, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Framework]:
    """A framework with tight limits, in each engine mode."""
    mode = request.param
    settings = {
        "BUILDER_ENGINE": mode,
        "BUILDER_DOCKER_SOCKET": cluster.engine.docker_host.removeprefix("unix://"),
        "BUILDER_FRAMEWORK_NAME": f"lean-{mode}",
        "BUILDER_VOLUME_PREFIX": f"lean-{mode}",
        "BUILDER_CACHE_KEEP_MB": str(CACHE_KEEP_MB),
        "BUILDER_PIDS_LIMIT": "1500",
    }
    running = Framework(cluster, tmp_path_factory.mktemp("lean"), PORT + 6, settings)
    running.start()
    yield running
    if running.process is not None:
        running.end(signal.SIGTERM)


def repository(cluster: Cluster, name: str, *steps: str) -> str:
    """The URL of a repository whose steps are run again in every test."""
    lines = [f"FROM {cluster.base_image}", f"ENV TEST={name}", *(f"RUN {step}" for step in steps)]
    return cluster.git.create_repository(name, {"Dockerfile": "\n".join([*lines, ""])})


def container_of(cluster: Cluster, build_id: str) -> str:
    """The id of the container in which a build's first attempt runs."""
    labels = (f"label=builder.build={build_id}", "label=builder.attempt=1")
    words = [word for label in labels for word in ("--filter", label)]
    (container,) = cluster.engine.docker("ps", "--quiet", "--no-trunc", *words).split()
    return container


def remains(cluster: Cluster, prefix: str) -> dict[str, set[str]]:
    """What a build could leave on the agents' engine, besides the cache volumes of that prefix."""
    docker = cluster.engine.docker
    volumes = docker("volume", "ls", "--quiet").split()
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    links = subprocess.run(["ip", "-oneline", "link"], capture_output=True, text=True, check=True)
    # With the slash: another cluster's directory may begin with the same name.
    places = (f"{cluster.config.state_dir}/", f"{cluster.config.run_dir}/")
    return {
        "containers": set(docker("ps", "--all", "--quiet").split()),
        "volumes": {volume for volume in volumes if not volume.startswith(prefix)},
        "networks": set(docker("network", "ls", "--quiet").split()),
        # Those that only builds give: a user's name of an image may be there for another reason.
        "images": set(
            docker(
                "images",
                "--filter",
                "reference=*/*:builder-*",
                "--format",
                "{{.Repository}}:{{.Tag}}",
            ).split()
        ),
        "mounts": {line.split()[1] for line in mounts if line.split()[1].startswith(places)},
        "interfaces": {
            line.split()[1]
            for line in links.stdout.splitlines()
            if f" master {cluster.config.bridge} " in line
        },
    }


def processes(*marks: str) -> list[str]:
    """What runs with a mark in its command line or the name of its control group."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            texts = [(process / name).read_text() for name in ("cmdline", "cgroup")]
            if any(mark in text for mark in marks for text in texts):
                found.append(texts[0])
    return found


def files_with(cluster: Cluster, secret: str) -> list[str]:
    """The engine's and the agents' files that hold a password, as it is or as Docker keeps it."""
    login = base64.b64encode(f"{cluster.registry.username}:{secret}".encode()).decode()
    places = [cluster.config.state_dir / name for name in ("docker", "agent1", "agent2")]
    words = ["grep", "-rlF", "-D", "skip", "-e", secret, "-e", login, *map(str, places)]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()


@contextlib.contextmanager
def held(framework: Framework, cluster: Cluster, name: str, phase: str) -> Iterator[str]:
    """A build that does not leave that phase; its id."""
    last = "sleep 2" if phase == "PUSHING" else "sleep 60"
    url = repository(cluster, name, f"echo it runs {name} && {last}")
    with contextlib.ExitStack() as stack:
        if phase == "CLONING":
            stack.enter_context(paused(cluster.git))
        build_id = framework.submit(url, f"{name}:1")
        if phase != "CLONING":
            until(lambda: f"it runs {name}" in framework.log(build_id), "the build does not run")
        if phase == "PUSHING":
            stack.enter_context(paused(cluster.registry))
        framework.wait_phase(build_id, phase)
        yield build_id


def give_up(framework: Framework, build_id: str) -> None:
    """The build may have another attempt, or be over."""
    framework.call("POST", f"/api/v1/builds/{build_id}/cancel")
    framework.wait_end(build_id)


def kill_executor(cluster: Cluster, container: str) -> None:
    """SIGKILL the executor but not the container's process 1."""
    listed = cluster.engine.docker("top", container, "-eo", "pid,ppid,args").splitlines()
    rows = [line.split(maxsplit=2) for line in listed[1:]]
    (first,) = [pid for pid, _, _ in rows if pid == inspect(cluster, container, "{{.State.Pid}}")]
    (executor,) = [pid for pid, parent, args in rows if parent == first and "m executor" in args]
    os.kill(int(executor), signal.SIGKILL)


def inspect(cluster: Cluster, container: str, template: str) -> str:
    return cluster.engine.docker("inspect", "--format", template, container).strip()


def kill_container(cluster: Cluster, container: str) -> None:
    os.kill(int(inspect(cluster, container, "{{.State.Pid}}")), signal.SIGKILL)


def kill_agent_too(cluster: Cluster, container: str) -> None:
    """Nobody is there to notice the container's end."""
    for agent in cluster.agents:
        agent.kill()
    kill_container(cluster, container)
    for agent in cluster.agents:
        agent.start()


Kill = Callable[[Cluster, str], None]


@pytest.mark.parametrize(
    ("phase", "kill"),
    [
        pytest.param("CLONING", kill_container, marks=pytest.mark.slow),
        ("BUILDING", kill_executor),
        pytest.param("BUILDING", kill_container, marks=pytest.mark.slow),
        pytest.param("BUILDING", kill_agent_too, marks=pytest.mark.slow),
        pytest.param("PUSHING", kill_container, marks=pytest.mark.slow),
    ],
)
def test_a_killed_build_leaves_nothing_behind(
    lean: Framework, cluster: Cluster, name: str, phase: str, kill: Kill
) -> None:
    """Processes, mounts and the like at once; an image's names with the next build there."""
    lean.succeeded(lean.submit(repository(cluster, f"{name}-first", "true"), f"{name}:first"))
    prefix = lean.settings["BUILDER_VOLUME_PREFIX"]
    until(lambda: not remains(cluster, prefix)["containers"], "the first build is still there")
    before = remains(cluster, prefix)
    with held(lean, cluster, name, phase) as build_id:
        container = container_of(cluster, build_id)
        owner = '{{index .Config.Labels "builder.framework"}}'
        assert inspect(cluster, container, owner)
        kill(cluster, container)
        give_up(lean, build_id)
    until(lambda: not processes(container, f"it runs {name}"), "processes are left", BOUND)
    lean.succeeded(lean.submit(repository(cluster, f"{name}-next", "true"), f"{name}:next"))

    def left() -> dict[str, set[str]]:
        now = remains(cluster, prefix)
        return {kind: now[kind] - before[kind] for kind in now if now[kind] - before[kind]}

    try:
        until(lambda: not left(), "something is left", BOUND)
    except AssertionError:
        raise AssertionError(f"left behind: {left()}") from None
    assert files_with(cluster, cluster.registry.password) == []


def test_only_the_dead_lose_their_names_on_the_agents_engine(
    lean: Framework, cluster: Cluster, name: str
) -> None:
    if lean.settings["BUILDER_ENGINE"] != "socket":
        pytest.skip("an engine of the executor's own has no names of others")
    docker = cluster.engine.docker
    mine, dead, alive = f"{name}:1", f"{name}:builder-{name[2:]}-1", f"{name}:builder-{name[2:]}-2"
    labels = ["--label", f"builder.build={name[2:]}", "--label", "builder.attempt=2"]
    container = docker(
        "run", "--detach", "--rm", *labels, cluster.executor_image, "sleep", "600"
    ).strip()
    try:
        for tag in (mine, dead, alive):
            docker("tag", cluster.executor_image, tag)
        lean.succeeded(lean.submit(repository(cluster, name, "true"), f"{name}:built"))
        tags = docker("images", "--format", "{{.Repository}}:{{.Tag}}", name).split()
        assert sorted(tags) == [mine, alive]
    finally:
        docker("kill", container)
        for tag in (mine, alive):
            docker("rmi", tag)


@pytest.mark.slow
def test_the_cache_stays_below_its_mark(lean: Framework, cluster: Cluster, name: str) -> None:
    """Each of these layers is half of it."""
    if lean.settings["BUILDER_ENGINE"] != "nested":
        pytest.skip("the cache of the agent's engine is not ours to keep small")

    def cached() -> int:
        """MiB in all cache volumes, by the file system."""
        volumes = cluster.config.state_dir / "docker" / "volumes"
        words = ["du", "-cm", *map(str, volumes.glob("lean-nested-*"))]
        out = subprocess.run(words, capture_output=True, text=True, check=False).stdout
        return int(out.splitlines()[-1].split()[0])

    rack = [["rack", "EQUALS", "a"]]
    for number in range(6):
        fill = f"head -c {CACHE_KEEP_MB << 19} /dev/urandom > /fill"
        url = repository(cluster, f"{name}-{number}", fill)
        lean.succeeded(lean.submit(url, f"{name}:{number}", constraints=rack))
    before = 6 * CACHE_KEEP_MB // 2
    # Compressed and as files, each layer is there twice.
    until(lambda: cached() < before, f"{cached()} MiB are kept")


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("tail /dev/zero", "out_of_memory"),
        ("i=0; while [ $i -lt 3000 ]; do sleep 60 & i=$((i+1)); done", "step_failed"),
    ],
    ids=["memory", "processes"],
)
def test_a_greedy_build_ends_by_its_limits(
    lean: Framework, cluster: Cluster, name: str, step: str, reason: str
) -> None:
    if lean.settings["BUILDER_ENGINE"] != "nested":
        pytest.skip("steps run beside the executor there, without its limits")
    url = repository(cluster, name, f"echo greedy && {step}")
    # A step that failed by itself is not tried again; one without memory may be.
    build = lean.wait_end(lean.submit(url, f"{name}:1"), patience=180)
    assert (build["state"], build["reason"]) == ("FAILED", reason)
    lean.succeeded(lean.submit(repository(cluster, f"{name}-next", "true"), f"{name}:next"))


def test_a_flood_of_output_moves_the_framework_by_little(
    lean: Framework, cluster: Cluster, name: str
) -> None:
    """200 MB, half of them in one line, while a client follows the log."""
    if lean.settings["BUILDER_ENGINE"] != "nested":
        pytest.skip("the log's way is the same")
    assert lean.process is not None
    status = Path(f"/proc/{lean.process.pid}/status")

    def resident() -> int:
        """MiB."""
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) >> 10

    flood = "yes a line of the flood | head -c 100000000; head -c 100000000 /dev/zero | tr '\\0' x"
    url = repository(cluster, name, flood)
    before = resident()
    build_id = lean.submit(url, f"{name}:1")
    argv = [sys.executable, "-m", "builder_framework.cli", "logs", "--follow", build_id]
    client = subprocess.Popen(
        argv, env=lean.client_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    highest = before
    while client.poll() is None:
        highest = max(highest, resident())
        time.sleep(0.2)
    lean.succeeded(build_id)
    assert highest - before < 50
    assert "[output clipped" in lean.log(build_id)
