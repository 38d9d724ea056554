"""Builds on a real Mesos cluster, seen as the people see them who ask for builds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from devcluster import Cluster
from devcluster.samples import PUBLIC
from tests.integration.harness import Framework, exists, paused, pull, until

pytestmark = pytest.mark.integration


def repository(cluster: Cluster, name: str, *lines: str, **files: str) -> str:
    """A repository whose Dockerfile begins with the base image; its clone URL.

    The name in the first step keeps later ones from coming out of the engine's cache.
    """
    dockerfile = "\n".join([f"FROM {cluster.base_image}", f"ENV TEST={name}", *lines, ""])
    return cluster.git.create_repository(name, {"Dockerfile": dockerfile, **files})


def slow(cluster: Cluster, name: str) -> str:
    """A repository whose build takes a minute after it has said that it began."""
    return repository(cluster, name, "RUN echo the step runs && sleep 60")


def containers(cluster: Cluster) -> str:
    return cluster.engine.docker("ps", "--quiet").strip()


# -- builds that succeed -----------------------------------------------------------------------


def test_a_git_url_becomes_an_image_with_its_digest(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    build = framework.succeeded(framework.submit(cluster.git.clone_url(PUBLIC), f"{name}:1"))
    image = pull(cluster, name, "1")
    result = build["result"]
    assert result["commit"] == cluster.git.head(PUBLIC)
    assert result["digest"] == image.digest
    reference = f"{cluster.registry.address}/{name}:1"
    assert result["images"] == [{"name": reference, "digest": image.digest}]
    assert result["size"] > 0
    assert {"cloning", "building", "pushing", "total"} <= set(result["timings"])
    assert image.files["message.txt"] == b"hello\nbuilt by builder-framework\n"
    labels = image.config["config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == result["commit"]
    assert labels["org.opencontainers.image.source"] == cluster.git.clone_url(PUBLIC)
    (attempt,) = build["attempts"]
    assert attempt["agent"]["hostname"]
    assert build["created_at"] <= attempt["placed_at"] <= attempt["running_at"]
    assert attempt["running_at"] <= attempt["ended_at"] == build["ended_at"]


def test_the_image_runs_from_its_digest(framework: Framework, cluster: Cluster, name: str) -> None:
    """What any other engine of the company will do with the answer."""
    build = framework.succeeded(framework.submit(cluster.git.clone_url(PUBLIC), f"{name}:1"))
    reference = f"{cluster.registry.address}/{name}@{build['result']['digest']}"
    cluster.engine.docker("pull", "--quiet", reference)
    output = cluster.engine.docker("run", "--rm", "--network", "none", reference)
    assert output == "hello\nbuilt by builder-framework\n"
    cluster.engine.docker("rmi", reference)


def test_two_builds_run_at_once_on_two_agents(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    url = repository(cluster, name, "RUN echo it runs && sleep 120")
    racks = [["rack", "EQUALS", "a"], ["rack", "LIKE", "b|c"]]
    ids = [
        framework.submit(url, f"{name}:{n}", constraints=[rack], build_args={"N": str(n)})
        for n, rack in enumerate(racks)
    ]

    def states() -> set[str]:
        return {framework.get(build_id)["state"] for build_id in ids}

    until(lambda: states() == {"RUNNING"}, "they do not run at the same time")
    agents = {framework.get(build_id)["attempts"][0]["agent"]["id"] for build_id in ids}
    assert len(agents) == 2
    for build_id in ids:
        framework.cancel(build_id)
    until(lambda: states() == {"CANCELLED"}, "they are not cancelled")


# -- waiting and cancelling --------------------------------------------------------------------


def test_a_build_that_fits_nowhere_waits_with_its_reason_while_others_pass(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    url = cluster.git.clone_url(PUBLIC)
    big = framework.submit(url, f"{name}:big", resources={"cpus": 64, "mem": 512})
    picky = framework.submit(url, f"{name}:picky", constraints=[["rack", "EQUALS", "z"]])
    small = framework.submit(url, f"{name}:small")
    framework.succeeded(small)
    waiting = framework.wait_for(
        big, lambda b: b["queue"]["agents_seen"] == 2, "seen by both agents"
    )
    assert waiting["queue"]["position"] == 1
    assert waiting["queue"]["refusals"] == [{"reason": "insufficient_cpus", "agents": 2}]
    assert waiting["queue"]["message"] == "no agent fits: 2 of 2 have too few cpus free"
    refusals = framework.get(picky)["queue"]["refusals"]
    assert refusals == [{"reason": "constraint:rack", "agents": 2}]
    cancelled = framework.cancel(big)
    assert (cancelled["state"], cancelled["reason"]) == ("CANCELLED", "cancelled")


def test_a_queue_deadline_ends_the_waiting(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    url = cluster.git.clone_url(PUBLIC)
    build_id = framework.submit(url, f"{name}:1", resources={"cpus": 64, "mem": 512}, queue_ttl=1)
    framework.failed(build_id, "queue_expired")


def _cancelled(framework: Framework, cluster: Cluster, build_id: str) -> dict[str, Any]:
    framework.cancel(build_id)
    build = framework.wait_end(build_id, patience=30)
    assert (build["state"], build["reason"]) == ("CANCELLED", "cancelled")
    assert build["message"] == "cancelled by tester"
    until(lambda: not containers(cluster), "the executor's container is still there")
    return build


def test_cancel_while_cloning(framework: Framework, cluster: Cluster, name: str) -> None:
    build_id = framework.submit(cluster.git.clone_url(PUBLIC, pause=40), f"{name}:1")
    framework.wait_phase(build_id, "CLONING")
    _cancelled(framework, cluster, build_id)


def test_cancel_while_building(framework: Framework, cluster: Cluster, name: str) -> None:
    build_id = framework.submit(slow(cluster, name), f"{name}:1")
    framework.wait_phase(build_id, "BUILDING")
    until(lambda: "the step runs" in framework.log(build_id), "the step does not run")
    _cancelled(framework, cluster, build_id)
    assert not exists(cluster, name, "1")


def test_cancel_while_pushing(framework: Framework, cluster: Cluster, name: str) -> None:
    """The registry is frozen, so that the push cannot be faster than the test."""
    url = cluster.git.create_repository(name, {"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
    with paused(cluster.registry):
        build_id = framework.submit(url, f"{name}:1")
        framework.wait_phase(build_id, "PUSHING")
        _cancelled(framework, cluster, build_id)
    time.sleep(1)
    assert not exists(cluster, name, "1")


def test_cancel_of_a_build_that_is_over_is_refused(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    build_id = framework.submit(cluster.git.clone_url(PUBLIC), f"{name}:1")
    framework.succeeded(build_id)
    answer = framework.call("POST", f"/api/v1/builds/{build_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


# -- logs --------------------------------------------------------------------------------------


def test_the_log_is_live_and_outlives_the_executor(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    steps = "for n in 1 2 3 4 5 6 7 8 9; do echo line $n; sleep 1; done"
    build_id = framework.submit(repository(cluster, name, f"RUN {steps}"), f"{name}:1")
    until(lambda: "line 1\n" in framework.log(build_id), "no line came")
    seen = framework.log(build_id)
    assert "line 9\n" not in seen
    assert framework.get(build_id)["state"] == "RUNNING"
    framework.succeeded(build_id)
    until(lambda: framework.get(build_id)["log"]["complete"], "the log is not complete")
    until(lambda: not containers(cluster), "the executor's container is still there")
    whole = framework.log(build_id)
    assert whole.startswith(seen)
    assert all(f"line {n}\n" in whole for n in range(1, 10))


def _events(framework: Framework, build_id: str, **headers: str) -> list[tuple[str, str, Any]]:
    """(event, id, data) of the stream from its start to its end."""
    events = []
    kind, number = "message", ""
    with framework.call(
        "GET", f"/api/v1/builds/{build_id}/log/stream", headers=headers, stream=True, timeout=60
    ) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        for raw in answer.iter_lines():
            line = raw.decode()
            if line.startswith("event:"):
                kind = line[6:].strip()
            elif line.startswith("id:"):
                number = line[3:].strip()
            elif line.startswith("data:"):
                events.append((kind, number, json.loads(line[5:])))
    return events


def test_the_stream_follows_resumes_and_ends_with_the_result(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    url = repository(cluster, name, "RUN for n in 1 2 3; do echo line $n; sleep 1; done")
    build_id = framework.submit(url, f"{name}:1")
    events = _events(framework, build_id)
    text = "".join(data["text"] for kind, _, data in events if kind == "log")
    states = [data["state"] for kind, _, data in events if kind == "state"]
    assert text == framework.log(build_id)
    assert states[0] in ("QUEUED", "STAGING")
    assert "RUNNING" in states
    last, _, end = events[-1]
    assert (last, end["state"]) == ("end", "SUCCEEDED")
    assert end["digest"] == pull(cluster, name, "1").digest
    first_log = next(number for kind, number, _ in events if kind == "log")
    rest = _events(framework, build_id, **{"Last-Event-ID": first_log})
    resumed = "".join(data["text"] for kind, _, data in rest if kind == "log")
    assert resumed == text.encode()[int(first_log) :].decode()


# -- the same image, whoever asks --------------------------------------------------------------


def _essence(cluster: Cluster, name: str, tag: str) -> tuple[Any, ...]:
    """What must not depend on who asked and what happened in between."""
    image = pull(cluster, name, tag)
    config = image.config["config"]
    revision = config["Labels"]["org.opencontainers.image.revision"]
    return (revision, config["Entrypoint"], sorted(image.files.items()))


def test_cli_curl_and_a_restart_in_between_make_the_same_image(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    url = cluster.git.clone_url(PUBLIC)
    registry = cluster.registry
    argv = [sys.executable, "-m", "builder_framework.cli", "submit", "--git", url]
    argv += ["--image", f"{registry.address}/{name}:cli", "--cpus", "0.5", "--mem", "512"]
    argv += ["--registry-username", registry.username, "--follow"]
    cli = _run(argv, framework)
    assert "== BUILDING: " in cli
    assert registry.password not in cli
    environment = framework.client_environment()
    user = f"{environment['BUILDER_USERNAME']}:{environment['BUILDER_PASSWORD']}"
    argv = ["curl", "--silent", "--show-error", "--fail", "--user", user, "--data", "@-"]
    argv += ["--header", "Content-Type: application/json", f"{framework.url}/api/v1/builds"]
    answer = json.loads(_run(argv, framework, json.dumps(framework.body(url, f"{name}:curl"))))
    framework.succeeded(answer["id"])
    slow_url = cluster.git.clone_url(PUBLIC, pause=3)
    build_id = framework.submit(slow_url, f"{name}:restart")
    framework.wait_phase(build_id, "CLONING")
    framework.end(signal.SIGKILL)
    framework.start()
    framework.succeeded(build_id)
    cli_made, curl_made = _essence(cluster, name, "cli"), _essence(cluster, name, "curl")
    assert cli_made == curl_made == _essence(cluster, name, "restart")
    assert cli_made[0] == cluster.git.head(PUBLIC)


def _run(argv: list[str], framework: Framework, stdin: str = "") -> str:
    """Run a program to its good end, as from a person's shell; its output."""
    done = subprocess.run(
        argv,
        env=framework.client_environment(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
