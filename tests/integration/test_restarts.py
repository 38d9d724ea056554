"""Builds go on while the framework or the master is away."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from devcluster import Cluster
from tests.integration.conftest import PORT
from tests.integration.harness import Framework, paused, pull, until

pytestmark = pytest.mark.integration

STEPS = "for n in 1 2 3 4 5 6 7 8; do echo line $n; sleep 1; done"


def steady(cluster: Cluster, name: str) -> str:
    """A build of some eight seconds that says how far it is."""
    dockerfile = f"FROM {cluster.base_image}\nENV TEST={name}\nRUN {STEPS}\n"
    return cluster.git.create_repository(name, {"Dockerfile": dockerfile})


def whole_and_in_order(log: str) -> bool:
    return [
        line for line in log.splitlines() if " line " in line and "echo" not in line
    ] != [] and (all(log.count(f" line {n}\n") == 1 for n in range(1, 9)))


def finished_once(framework: Framework, cluster: Cluster, build_id: str, name: str) -> None:
    """The build that went through it all ended well, in its first attempt, with its whole log."""
    build = framework.succeeded(build_id)
    assert len(build["attempts"]) == 1
    assert pull(cluster, name, "1").digest == build["result"]["digest"]
    until(lambda: framework.get(build_id)["log"]["complete"], "the log is not complete")
    assert whole_and_in_order(framework.log(build_id)), framework.log(build_id)


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL]
)
@pytest.mark.parametrize(
    "back", [pytest.param("while it is built", marks=pytest.mark.slow), "when it is built"]
)
def test_a_build_goes_on_while_the_framework_is_away(
    framework: Framework, cluster: Cluster, name: str, number: signal.Signals, back: str
) -> None:
    build_id = framework.submit(steady(cluster, name), f"{name}:1")
    until(lambda: " line 2\n" in framework.log(build_id), "the build does not run")
    waiting = framework.submit(
        cluster.git.clone_url("app"), f"{name}:later", resources={"cpus": 64, "mem": 64}
    )
    code = framework.end(number)
    assert code == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    if back == "when it is built":
        # It goes on as far as it may alone: what it publishes is the framework's to allow.
        (container,) = cluster.engine.docker("ps", "--quiet").split()
        log = f"cat /mnt/mesos/sandbox/{build_id}.1.log"
        until(
            lambda: "leave to publish" in cluster.engine.docker("exec", container, "sh", "-c", log),
            "the build does not ask for leave to publish",
        )
    framework.start()
    finished_once(framework, cluster, build_id, name)
    assert framework.get(waiting)["state"] == "QUEUED"


def test_a_build_goes_on_while_the_master_is_away(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    build_id = framework.submit(steady(cluster, name), f"{name}:1")
    until(lambda: " line 2\n" in framework.log(build_id), "the build does not run")
    cluster.master.kill()
    until(
        lambda: requests.get(f"{framework.url}/readyz", timeout=5).status_code == 503,
        "the framework does not notice",
    )
    # Accepted all the same: it is in the database, and waits for the master like the others.
    queued = framework.submit(cluster.git.clone_url("app"), f"{name}:2")
    assert framework.get(queued)["queue"]["message"] == "not connected to a Mesos master"
    time.sleep(1)
    cluster.master.start()
    finished_once(framework, cluster, build_id, name)
    framework.succeeded(queued)
    framework.wait_ready()


@pytest.mark.slow
def test_a_build_on_an_agent_that_is_out_of_reach_goes_on_when_it_is_back(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    """The agent is frozen for longer than the master waits for it; its container is not."""
    dockerfile = f"FROM {cluster.base_image}\nENV TEST={name}\nRUN echo it runs && sleep 30\n"
    url = cluster.git.create_repository(name, {"Dockerfile": dockerfile})
    build_id = framework.submit(url, f"{name}:1", constraints=[["rack", "EQUALS", "b"]])
    until(lambda: "it runs" in framework.log(build_id), "the build does not run")
    (agent,) = [agent for agent in cluster.agents if agent.attributes["rack"] == "b"]
    with paused(agent):
        away = framework.wait_state(build_id, "UNREACHABLE")
        assert away["phase"] == "BUILDING"
    framework.wait_state(build_id, "RUNNING")
    build = framework.succeeded(build_id)
    assert len(build["attempts"]) == 1
    assert pull(cluster, name, "1").digest == build["result"]["digest"]


@pytest.mark.parametrize("seconds", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_a_build_survives_the_restart_of_its_agent(
    framework: Framework, cluster: Cluster, name: str, seconds: int
) -> None:
    """SIGKILL, and Mesos' default of 2 s for executors to come back once the agent is up."""
    build_id = framework.submit(
        steady(cluster, name), f"{name}:1", constraints=[["rack", "EQUALS", "a"]]
    )
    until(lambda: " line 2\n" in framework.log(build_id), "the build does not run")
    (agent,) = [agent for agent in cluster.agents if agent.attributes["rack"] == "a"]
    agent.kill()
    time.sleep(seconds)
    agent.start()
    finished_once(framework, cluster, build_id, name)
    # And the agent has let go of it.
    until(
        lambda: not cluster.engine.docker("ps", "--quiet").strip(),
        "the executor's container is still there",
    )


@pytest.mark.slow
@pytest.mark.parametrize("attempts", [1, 2])
def test_without_recovery_a_build_whose_agent_was_killed_is_built_again_or_ends_with_the_truth(
    cluster: Cluster, name: str, tmp_path: Path, attempts: int
) -> None:
    """By itself Mesos' Docker containerizer does not recover executors of the HTTP API.

    A restarted agent ends them ("unknown container"); the build must not hang on that, nor its
    container be left behind.
    """
    settings = {"BUILDER_SURVIVE_AGENT_RESTARTS": "false", "BUILDER_FRAMEWORK_NAME": "no-recovery"}
    framework = Framework(cluster, tmp_path, PORT + 5, settings)
    framework.start()
    build_id = framework.submit(
        steady(cluster, name),
        f"{name}:1",
        constraints=[["rack", "EQUALS", "a"]],
        max_attempts=attempts,
    )
    until(lambda: " line 2\n" in framework.log(build_id), "the build does not run")
    (agent,) = [agent for agent in cluster.agents if agent.attributes["rack"] == "a"]
    agent.kill()
    agent.start()
    if attempts == 1:
        build = framework.failed(build_id, "executor_lost")
        assert "unknown container" in build["message"]
    else:
        build = framework.succeeded(build_id)
        first, second = build["attempts"]
        assert first["reason"] == "executor_lost"
        assert second["reason"] is None
        log = framework.log(build_id)
        assert log.index(" line 2\n") < log.index("== Attempt 2 on ") < log.rindex(" line 2\n")
        assert pull(cluster, name, "1").digest == build["result"]["digest"]
    until(
        lambda: not cluster.engine.docker("ps", "--quiet").strip(),
        "the executor's container is still there",
    )
    framework.end(signal.SIGTERM)


@pytest.mark.slow
def test_a_follower_survives_a_restart_of_the_framework(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    """The command line client resumes at the byte where it was."""
    registry = cluster.registry
    argv = [sys.executable, "-m", "builder_framework.cli", "submit", "--follow"]
    argv += ["--git", steady(cluster, name), "--image", f"{registry.address}/{name}:1"]
    argv += ["--cpus", "0.5", "--mem", "512", "--registry-username", registry.username]
    client = subprocess.Popen(
        argv,
        env=framework.client_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(5)
    framework.end(signal.SIGKILL)
    time.sleep(1)
    framework.start()
    output, errors = client.communicate(timeout=90)
    assert client.returncode == 0, errors
    assert whole_and_in_order(output), output
