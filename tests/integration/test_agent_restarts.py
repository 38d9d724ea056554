"""Agents and executors are killed under running builds."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from devcluster import Cluster
from executor.outbox import FILE_NAME
from tests.integration.harness import Framework, exists, pull, until
from tests.integration.restarts import HEADER, Restarter, plans

pytestmark = pytest.mark.integration


def long(cluster: Cluster, name: str, seconds: int = 60) -> str:
    """The URL of a build that says `it runs` and then takes this long."""
    return repository(cluster, name, f"sleep {seconds}")


def repository(cluster: Cluster, name: str, then: str) -> str:
    """The URL of a build that says `it runs` and then does this."""
    dockerfile = f"FROM {cluster.base_image}\nENV TEST={name}\nRUN echo it runs; {then}\n"
    return cluster.git.create_repository(name, {"Dockerfile": dockerfile})


def containers(cluster: Cluster) -> list[str]:
    return cluster.engine.docker("ps", "--quiet", "--no-trunc").split()


def executor_pid(cluster: Cluster) -> int:
    """On this machine, of the one executor that runs: the child of its container's process 1."""
    (container,) = containers(cluster)
    first = cluster.engine.docker("inspect", "--format", "{{.State.Pid}}", container).strip()
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    found = [
        int(pid)
        for pid in children
        if b"executor" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    ]
    assert len(found) == 1, found
    return found[0]


def sandbox(work_dir: Path, build_id: str) -> list[Path]:
    """The files in the sandboxes of the build's executors on this agent."""
    found = work_dir.glob(f"**/executors/*{build_id}*/runs/latest/*")
    return [path for path in found if path.is_file()]


def gone(cluster: Cluster) -> None:
    until(lambda: not containers(cluster), "the executor's container is still there", 30.0)


def test_a_killed_executor_ends_its_build_with_the_truth(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    """X1: and nothing that it started goes on; the build's own log says what happened."""
    build_id = framework.submit(long(cluster, name), f"{name}:1", max_attempts=1)
    until(lambda: "it runs" in framework.log(build_id), "the build does not run")
    os.kill(executor_pid(cluster), signal.SIGKILL)
    build = framework.failed(build_id, "executor_lost")
    assert build["message"] == "the executor was killed by SIGKILL while BUILDING"
    gone(cluster)
    assert not exists(cluster, name, "1")
    until(lambda: framework.get(build_id)["log"]["complete"], "the log is not complete")
    assert framework.log(build_id).endswith("the executor was killed by SIGKILL while BUILDING\n")


@pytest.mark.slow
def test_a_build_that_ended_while_its_agent_was_away_outlives_its_executor(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    """A2: nobody took the last update, and then the executor dies, too.

    A good build would wait for leave to publish as long as its agent is away.
    """
    build_id = framework.submit(
        repository(cluster, name, "sleep 5; exit 3"),
        f"{name}:1",
        constraints=[["rack", "EQUALS", "a"]],
    )
    until(lambda: "it runs" in framework.log(build_id), "the build does not run")
    (agent,) = [agent for agent in cluster.agents if agent.attributes["rack"] == "a"]
    agent.kill()
    try:
        (outbox,) = [p for p in sandbox(agent.work_dir, build_id) if p.name == FILE_NAME]
        until(lambda: "TASK_FAILED" in outbox.read_text(), "the build does not end")
        os.kill(executor_pid(cluster), signal.SIGKILL)
        time.sleep(1)
    finally:
        agent.start()
    build = framework.failed(build_id, "step_failed")
    assert len(build["attempts"]) == 1
    gone(cluster)


def test_a_build_whose_executor_was_killed_is_built_again(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    build_id = framework.submit(long(cluster, name, 4), f"{name}:1")
    until(lambda: "it runs" in framework.log(build_id), "the build does not run")
    os.kill(executor_pid(cluster), signal.SIGKILL)
    build = framework.succeeded(build_id)
    assert [attempt["reason"] for attempt in build["attempts"]] == ["executor_lost", None]
    assert pull(cluster, name, "1").digest == build["result"]["digest"]
    gone(cluster)


@pytest.mark.slow
def test_a_build_that_ended_while_its_agent_was_unreachable_is_not_lost(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    """The master tells of its end, when the agent is back, without the executor's report."""
    build_id = framework.submit(
        long(cluster, name, 3), f"{name}:1", constraints=[["rack", "EQUALS", "a"]]
    )
    until(lambda: "it runs" in framework.log(build_id), "the build does not run")
    (agent,) = [agent for agent in cluster.agents if agent.attributes["rack"] == "a"]
    agent.kill()
    try:
        framework.wait_state(build_id, "UNREACHABLE")
    finally:
        agent.start()
    build = framework.succeeded(build_id)
    assert len(build["attempts"]) == 1
    assert pull(cluster, name, "1").digest == build["result"]["digest"]


@pytest.mark.slow
def test_an_executor_that_hangs_is_ended_with_its_build(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    """X2: it does not answer KILL, so its container is destroyed."""
    build_id = framework.submit(long(cluster, name), f"{name}:1")
    until(lambda: "it runs" in framework.log(build_id), "the build does not run")
    os.kill(executor_pid(cluster), signal.SIGSTOP)
    framework.cancel(build_id)
    build = framework.wait_end(build_id)
    assert build["state"] == "CANCELLED", build
    gone(cluster)


def test_nothing_secret_is_left_in_the_sandbox_of_a_killed_executor(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    build_id = framework.submit(long(cluster, name), f"{name}:1", max_attempts=1)
    until(lambda: "it runs" in framework.log(build_id), "the build does not run")
    os.kill(executor_pid(cluster), signal.SIGKILL)
    framework.failed(build_id, "executor_lost")
    gone(cluster)
    files = [path for agent in cluster.agents for path in sandbox(agent.work_dir, build_id)]
    assert {path.name for path in files} >= {FILE_NAME, "stderr"}
    secret = cluster.registry.password.encode()
    assert [path for path in files if secret in path.read_bytes()] == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_builds_survive_agents_that_are_killed_at_random(
    framework: Framework, cluster: Cluster, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A1: `make agent-restarts` does it more often; a seed repeats moments and delays."""
    count = int(os.environ.get("AGENT_RESTARTS", "4"))
    longest = float(os.environ.get("AGENT_RESTARTS_AWAY", "10"))
    seed = int(os.environ.get("AGENT_RESTARTS_SEED") or random.randrange(10**6))  # noqa: S311
    restarter = Restarter(framework, cluster, name)
    outcomes = restarter.run(plans(seed, count, longest))
    survived = sum(outcome.survived for outcome in outcomes)
    figures = (
        f"agent-restarts: seed={seed} restarts={count} builds={len(outcomes)} "
        f"survived={survived} lost={len(outcomes) - survived} agent_exits={restarter.exits}"
    )
    table = "\n".join([HEADER, *(outcome.row() for outcome in outcomes), figures, ""])
    (cluster.config.state_dir / "agent-restarts.txt").write_text(table)
    with capsys.disabled():
        print(f"\n{table}", end="")
    assert survived == len(outcomes)
    gone(cluster)
