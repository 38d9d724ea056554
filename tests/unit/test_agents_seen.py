"""What people are shown of agents and of the queue: as the loop knows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from builder_framework.cluster import Disconnected, OffersReceived, StatusUpdate
from builder_framework.domain import avoid
from builder_framework.domain.model import Resources
from builder_framework.domain.offers import Unavailability
from builder_framework.ports import (
    AgentFailure,
    AgentsView,
    AgentView,
    BuildRefusal,
    ExecutorView,
    LastOffer,
)
from builder_framework.protocol import Outcome, PushedImage, Reason, Report, encode_report
from builder_framework.service.agents import REMEMBERED_SECONDS
from builder_framework.service.follower import Follower
from builder_framework.service.logs import LogStore
from builder_framework.service.policy import LoopPolicy
from tests.unit.builds_double import AUTH, BODY, MemoryBuilds
from tests.unit.recording import Bench, offer
from tests.unit.test_avoid import POLICY, after
from tests.unit.test_service import REQUEST
from tests.unit.waiting import until

pytest_plugins = ("tests.unit.conftest_api",)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, LoopPolicy(executor_idle=60.0, kind=lambda build: build.owner))
    yield made
    made.close()


def news(task_id: str, state: str, report: Report) -> StatusUpdate:
    return StatusUpdate(task_id, "a1", state, data=encode_report(report), uuid=f"{task_id}-{state}")


def only(view: AgentsView) -> AgentView:
    (agent,) = view.agents
    return agent


def test_an_agent_is_seen_with_its_offer_its_builds_and_its_executor(bench: Bench) -> None:
    bench.subscribe()
    build_id = bench.service.submit(REQUEST, "me")[0].build.id
    bench.service.post(OffersReceived((replace(offer(), attributes={"rack": "r1"}),)))
    bench.cluster.wait_for("launch")
    agent = only(bench.service.agents())
    assert (agent.id, agent.hostname, agent.url) == ("a1", "a1", "http://a1:9")
    assert [build.id for build in agent.builds] == [build_id]
    assert agent.offer is not None
    assert agent.offer.resources == Resources(8.0, 8192.0, 0.0)
    assert (agent.offer.used, agent.offer.attributes) == (True, {"rack": "r1"})
    (executor,) = agent.executors
    assert executor == ExecutorView(executor.id, (build_id,), None, 1, open=True)

    image = PushedImage(REQUEST.images[0], "sha256:1")
    done = Report(outcome=Outcome.SUCCEEDED, digest="sha256:1", images=(image,))
    bench.service.post(news(f"{build_id}.1", "TASK_FINISHED", done))
    until(lambda: only(bench.service.agents()).builds == ())
    agent = only(bench.service.agents())
    assert agent.warm == 1
    (executor,) = agent.executors
    assert (executor.running, executor.open) == ((), True)
    assert executor.idle_since is not None


def test_an_offer_that_is_not_used_says_for_how_many_builds_and_why(bench: Bench) -> None:
    bench.subscribe()
    for _ in range(2):
        bench.service.submit(replace(REQUEST, resources=Resources(64.0, 512.0)), "me")
    bench.service.submit(replace(REQUEST, resources=Resources(1.0, 1e6)), "me")
    bench.service.post(OffersReceived((offer(),)))
    bench.cluster.wait_for("decline")
    last = only(bench.service.agents()).offer
    assert last is not None
    assert not last.used
    assert last.refusals == (
        BuildRefusal("insufficient_cpus", 2),
        BuildRefusal("insufficient_mem", 1),
    )


def test_failures_are_told_until_the_agent_is_avoided_no_more(bench: Bench) -> None:
    bench.subscribe()
    fails_for_lack_of_disk(bench)
    build_id = fails_for_lack_of_disk(bench)
    agent = only(bench.service.agents())
    assert len(agent.failures) == 2
    assert {failure.reason for failure in agent.failures} == {Reason.DISK_FULL}
    assert agent.failures[-1].build_id == build_id
    assert agent.avoided_until is not None
    bench.ahead = 601.0
    assert only(bench.service.agents()).avoided_until is None


def fails_for_lack_of_disk(bench: Bench) -> str:
    build_id = bench.service.submit(replace(REQUEST, max_attempts=1), "me")[0].build.id
    bench.service.post(OffersReceived((offer(),)))
    until(lambda: _launched(bench, build_id))
    failed = Report(outcome=Outcome.FAILED, reason=Reason.DISK_FULL, message="full")
    bench.service.post(news(f"{build_id}.1", "TASK_FAILED", failed))
    until(lambda: bench.service.get(build_id).build.terminal)
    return build_id


def _launched(bench: Bench, build_id: str) -> bool:
    return any(
        launch.build.id == build_id
        for name, arguments in bench.cluster.calls
        if name == "launch"
        for launch in arguments[1]
    )


def test_who_is_not_connected_says_so(bench: Bench) -> None:
    bench.subscribe()
    until(lambda: bench.service.agents().message is None)
    bench.service.post(Disconnected())
    until(lambda: bench.service.agents().message == "not connected to a Mesos master")


def test_until_when_an_agent_is_avoided() -> None:
    assert avoid.avoided_until({}, "a", 1.0, POLICY) is None
    record = after(("a", Reason.DISK_FULL, 10.0), ("a", Reason.DISK_FULL, 50.0))
    for now in (51.0, 609.0, 610.0, 611.0):
        until_then = avoid.avoided_until(record, "a", now, POLICY)
        assert (until_then == 610.0) is (now < 610.0)
        assert ("a" in avoid.avoided(record, now, POLICY)) is (until_then is not None)


def test_what_was_not_heard_of_for_a_day_is_forgotten(bench: Bench) -> None:
    bench.subscribe()
    bench.service.post(OffersReceived((offer("old"),)))
    until(lambda: len(bench.service.agents().agents) == 1)
    bench.ahead = REMEMBERED_SECONDS / 2
    bench.service.post(OffersReceived((offer("new"),)))
    until(lambda: len(bench.service.agents().agents) == 2)
    bench.ahead = REMEMBERED_SECONDS + 10.0
    until(lambda: [view.id for view in bench.service.agents().agents] == ["new"])


def test_maintenance_is_told(bench: Bench) -> None:
    bench.subscribe()
    bench.service.post(OffersReceived((replace(offer(), unavailability=Unavailability(99.0)),)))
    until(lambda: bool(bench.service.agents().agents))
    agent = only(bench.service.agents())
    assert agent.offer is not None
    assert agent.offer.unavailable_from == 99.0


def test_the_queue_is_in_the_order_of_placement(bench: Bench, tmp_path: Path) -> None:
    """Of the leader and of a follower alike; positions count what the caller may not see."""
    low, high, other = (
        bench.service.submit(replace(REQUEST, priority=priority, project=project), "me")[0].build.id
        for priority, project in ((0, "shop"), (5, "shop"), (9, "lab"))
    )
    follower = Follower(bench.store, LogStore(tmp_path / "logs"), bench.clock, lambda *_: (), 0.0)
    for builds in (bench.service, follower):
        page = builds.queue(2)
        assert [view.build.id for view in page.builds] == [other, high]
        assert page.total == 3
        page = builds.queue(9, visible=("shop",))
        told = [(view.build.id, view.waiting and view.waiting.position) for view in page.builds]
        assert told == [(high, 2), (low, 3)]
        assert page.total == 2


def test_a_follower_knows_the_builds_of_agents_only(bench: Bench, tmp_path: Path) -> None:
    bench.subscribe()
    build_id = bench.service.submit(REQUEST, "me")[0].build.id
    bench.service.post(OffersReceived((offer(),)))
    bench.cluster.wait_for("launch")
    follower = Follower(bench.store, LogStore(tmp_path / "logs"), bench.clock, lambda *_: (), 0.0)
    found = follower.agents()
    assert [build.id for build in only(found).builds] == [build_id]
    assert found.slots is None
    assert found.message is not None
    assert "leader" in found.message


def test_the_answers(http: FlaskClient, builds: MemoryBuilds) -> None:
    http.post("/api/v1/builds", auth=AUTH, json=BODY)
    running = http.post("/api/v1/builds", auth=AUTH, json=BODY).get_json()["id"]
    builds.place(running)
    builds.known_agents = (
        AgentView(
            "a1",
            "node-1",
            "http://10.0.0.1:5051",
            (builds.builds[running],),
            LastOffer(0.0, Resources(0.1 + 0.2, 1.0, 0.0), {"rack": "r1"}),
            (ExecutorView("e1", (running,), None, 3, open=True),),
            2,
            (AgentFailure(0.0, "b", Reason.DISK_FULL),),
            60.0,
        ),
    )
    answer = http.get("/api/v1/agents", auth=AUTH).get_json()
    assert (answer["slots"], answer["message"]) == (8, None)
    (agent,) = answer["agents"]
    assert agent["offer"]["resources"] == {"cpus": 0.3, "mem": 1.0, "disk": 0.0}
    assert agent["builds"][0]["links"]["self"] == f"/api/v1/builds/{running}"
    assert agent["failures"] == [
        {"at": "1970-01-01T00:00:00.000Z", "build": "b", "reason": "disk_full"}
    ]
    assert agent["avoided_until"] == "1970-01-01T00:01:00.000Z"
    answer = http.get("/api/v1/queue?limit=1", auth=AUTH).get_json()
    assert answer["total"] == len(answer["builds"]) == 1
    assert answer["builds"][0]["queue"]["position"] == 1
    assert http.get("/api/v1/queue?limit=0", auth=AUTH).status_code == 400
    assert http.get("/api/v1/agents?x=1", auth=AUTH).status_code == 400
