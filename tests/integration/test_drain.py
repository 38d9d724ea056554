"""Drain before maintenance: what runs ends, what comes waits, and nothing is forgotten over it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster import Cluster
from tests.integration.conftest import PORT
from tests.integration.harness import Framework, until

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def own(cluster: Cluster, tmp_path: Path) -> Iterator[Framework]:
    """A framework of this test's own: it starts nothing for a while."""
    running = Framework(cluster, tmp_path, PORT + 9)
    running.start()
    yield running
    if running.process is not None:
        running.end(signal.SIGTERM)


def scheduler(framework: Framework) -> dict[str, Any]:
    answer = framework.call("GET", "/api/v1/scheduler")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_drain_waits_for_what_runs_and_outlives_a_restart(
    own: Framework, cluster: Cluster, name: str
) -> None:
    dockerfile = f"FROM {cluster.base_image}\nENV TEST={name}\nRUN echo it runs && sleep 5\n"
    repository = cluster.git.create_repository(name, {"Dockerfile": dockerfile})
    runs = own.submit(repository, f"{name}:1")
    own.wait_phase(runs, "BUILDING")
    answer = own.call("POST", "/api/v1/scheduler/drain", headers={"X-Request-Id": "drain-1"})
    assert (answer.json()["state"], answer.json()["on_agents"]) == ("draining", 1)
    waits = own.submit(repository, f"{name}:2")
    own.succeeded(runs)
    until(lambda: scheduler(own)["state"] == "drained", "not drained after the last build")
    assert own.readiness()["scheduler"] == "drained"
    own.end(signal.SIGTERM)
    own.start()
    queued = own.get(waits)
    assert queued["state"] == "QUEUED"
    assert queued["attempts"] == []
    assert queued["queue"]["message"].endswith("has drained the framework")
    own.call("POST", "/api/v1/scheduler/resume")
    own.succeeded(waits)
    trail = own.call("GET", "/api/v1/audit?action=scheduler.change").json()["entries"]
    assert [(each["subject"], each["status"]) for each in trail] == [
        ("resume", 200),
        ("drain", 200),
    ]
    lines = [json.loads(line) for line in own.log_file.read_text().splitlines()]
    (told,) = [line for line in lines if line.get("request_id") == "drain-1"]
    assert (told["user"], told["route"]) == (trail[0]["user"], "/api/v1/scheduler/<verb>")
    states = [line["message"] for line in lines if line.get("build_id") == runs]
    assert any("SUCCEEDED" in message for message in states)
