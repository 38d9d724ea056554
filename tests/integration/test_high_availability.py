"""Two frameworks on one PostgreSQL: one leads, both answer, and nothing is lost between them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import Cluster
from tests.endurance.failovers import Pair, fail_over, launches
from tests.integration.harness import Framework, until

pytestmark = pytest.mark.integration

_PORTS = (8194, 8195)


@pytest.fixture
def pair(cluster: Cluster, postgres_url: str, tmp_path: Path) -> Iterator[Pair]:
    settings = {"BUILDER_DATABASE_URL": postgres_url, "BUILDER_FRAMEWORK_NAME": "pair"}
    first, second = (
        Framework(cluster, tmp_path / str(port), port, dict(settings)) for port in _PORTS
    )
    first.start()
    second.spawn()
    until(lambda: "leads" in str(second.readiness()), "the second does not follow")
    yield Pair((first, second))
    for member in (first, second):
        if member.process is not None:
            member.end(signal.SIGTERM)


def slow(cluster: Cluster, name: str) -> str:
    dockerfile = f"FROM {cluster.base_image}\nENV TEST={name}\nRUN echo it runs && sleep 8\n"
    return cluster.git.create_repository(name, {"Dockerfile": dockerfile})


def test_a_follower_accepts_shows_and_cancels_for_the_leader(
    pair: Pair, cluster: Cluster, name: str
) -> None:
    leader, follower = pair.members
    built = follower.submit(cluster.git.clone_url("app"), f"{name}:1")
    assert leader.succeeded(built)["result"]["digest"] == follower.get(built)["result"]["digest"]
    until(lambda: follower.get(built)["log"]["complete"], "the log is not complete")
    assert follower.log(built) == leader.log(built) != ""
    waits = follower.submit(
        cluster.git.clone_url("app"), f"{name}:2", constraints=[["rack", "EQUALS", "nowhere"]]
    )
    assert leader.url in follower.get(waits)["queue"]["message"]
    assert follower.cancel(waits)["state"] == "CANCELLED"
    assert leader.get(waits)["message"] == "cancelled by tester"


@pytest.mark.parametrize(
    "by",
    [
        pytest.param("kill", marks=pytest.mark.slow),
        pytest.param("term", marks=pytest.mark.slow),
        "stop",
    ],
)
def test_the_other_takes_over_in_the_middle_of_a_build(
    pair: Pair, cluster: Cluster, name: str, by: str
) -> None:
    """With one SUBSCRIBE; a leader that was frozen neither writes nor launches when it wakes."""
    leader, follower = pair.members
    build_id = leader.submit(slow(cluster, name), f"{name}:1")
    until(lambda: "it runs" in follower.log(build_id), "the build does not run")
    later = leader.submit(
        cluster.git.clone_url("app"), f"{name}:2", resources={"cpus": 0.5, "mem": 512}
    )
    _, subscriptions = fail_over(pair, by)
    assert subscriptions == 1
    build = follower.succeeded(build_id)
    assert len(build["attempts"]) == 1
    assert follower.succeeded(later)["attempts"]
    assert launches(pair)[build_id] == 1
