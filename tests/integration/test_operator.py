"""What operators do to the cluster, and what the framework makes of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from devcluster import Cluster
from devcluster.samples import PUBLIC
from tests.integration.conftest import PORT
from tests.integration.harness import Framework, describe, until

pytestmark = pytest.mark.integration


@pytest.fixture
def another(cluster: Cluster, tmp_path: Path) -> Iterator[Framework]:
    """A second framework beside the first, with a role and a principal of its own."""
    settings = {
        "BUILDER_FRAMEWORK_NAME": "builder-another",
        "BUILDER_MESOS_ROLE": "builds",
        "BUILDER_MESOS_PRINCIPAL": "builder",
    }
    running = Framework(cluster, tmp_path, PORT + 2, settings)
    running.start()
    yield running
    if running.process is not None:
        running.end(signal.SIGTERM)


def registered(cluster: Cluster, name: str) -> dict[str, Any]:
    """The framework of that name, as the master sees it."""
    answer = requests.get(f"{cluster.master.url}/frameworks", timeout=10).json()
    (found,) = [f for f in answer["frameworks"] if f["name"] == name and f["active"]]
    framework: dict[str, Any] = found
    return framework


def test_it_registers_with_role_principal_and_what_reliability_needs(
    another: Framework, cluster: Cluster, name: str
) -> None:
    seen = registered(cluster, "builder-another")
    assert (seen["roles"], seen["principal"]) == (["builds"], "builder")
    assert set(seen["capabilities"]) >= {"PARTITION_AWARE", "TASK_KILLING_STATE"}
    assert "GPU_RESOURCES" not in seen["capabilities"]
    assert seen["checkpoint"] is True
    assert seen["failover_timeout"] >= 14 * 86400
    another.succeeded(another.submit(cluster.git.clone_url(PUBLIC), f"{name}:1"))


def test_an_idle_framework_holds_no_offers_and_asks_for_none(
    another: Framework, cluster: Cluster
) -> None:
    def offered() -> list[Any]:
        offers: list[Any] = registered(cluster, "builder-another")["offers"]
        return offers

    until(lambda: not offered(), "offers are still out")
    quiet = time.monotonic() + 3
    while time.monotonic() < quiet:
        assert offered() == []
        time.sleep(0.2)


def test_a_restart_keeps_the_framework_id(another: Framework, cluster: Cluster) -> None:
    before = registered(cluster, "builder-another")["id"]
    another.end(signal.SIGTERM)
    another.start()
    assert registered(cluster, "builder-another")["id"] == before


def test_planned_maintenance_keeps_builds_away_until_it_is_called_off(
    framework: Framework, cluster: Cluster, name: str
) -> None:
    machines = [{"hostname": cluster.address, "ip": cluster.address}]
    start = {"nanoseconds": int((time.time() + 600) * 1e9)}
    window = {"machine_ids": machines, "unavailability": {"start": start}}
    schedule = f"{cluster.master.url}/maintenance/schedule"
    assert requests.post(schedule, json={"windows": [window]}, timeout=10).ok
    try:
        url = cluster.git.clone_url(PUBLIC)
        long = framework.submit(url, f"{name}:long", timeout=1200)
        waiting = framework.wait_for(
            long, lambda b: b["queue"]["agents_seen"] == 2, "seen by both agents"
        )
        assert [r["reason"] for r in waiting["queue"]["refusals"]] == ["agent_maintenance"]
        framework.succeeded(framework.submit(url, f"{name}:short", timeout=60))
    finally:
        assert requests.post(schedule, json={"windows": []}, timeout=10).ok
    framework.succeeded(long)


def test_a_framework_that_was_torn_down_says_what_to_do_and_starts_anew_when_told(
    another: Framework, cluster: Cluster, name: str
) -> None:
    dockerfile = f"FROM {cluster.base_image}\nENV TEST={name}\nRUN echo it runs && sleep 60\n"
    url = cluster.git.create_repository(name, {"Dockerfile": dockerfile})
    running = another.submit(url, f"{name}:1", max_attempts=1)
    until(lambda: "it runs" in another.log(running), "the build does not run")
    old = registered(cluster, "builder-another")["id"]
    requests.post(
        f"{cluster.master.url}/teardown", data={"frameworkId": old}, timeout=10
    ).raise_for_status()
    assert another.process is not None
    assert another.process.wait(timeout=60) == 78
    assert "BUILDER_FORGET_FRAMEWORK_ID=true" in another.log_file.read_text()
    another.settings["BUILDER_FORGET_FRAMEWORK_ID"] = "true"
    another.start()
    assert registered(cluster, "builder-another")["id"] != old
    lost = another.wait_end(running)
    assert (lost["state"], lost["reason"]) == ("FAILED", "agent_lost"), describe(lost)
