"""`/metrics`: what is counted is what happened, and a scrape never fails with the database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from api import create_app
from builder_framework.cluster import Disconnected, OffersReceived
from builder_framework.domain.states import State
from builder_framework.domain.tally import Metric, Tally
from builder_framework.errors import StoreUnavailableError
from builder_framework.instruments import Instruments
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from builder_framework.service.measures import Exposition, Figures
from builder_framework.store.measures import Standing
from builder_framework.users import SingleUser
from tests.unit.builds_double import AUTH, BODY, PASSWORD, USER, MemoryBuilds
from tests.unit.recording import Bench, offer
from tests.unit.test_service import submit
from tests.unit.waiting import until

pytest_plugins = ("tests.unit.conftest_api",)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: bytes | str) -> Samples:
    text = text.decode() if isinstance(text, bytes) else text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


class FakeDatabase:
    def __init__(self) -> None:
        self.away = False
        self.found: list[Tally] = []

    def tallies(self) -> list[Tally]:
        if self.away:
            raise StoreUnavailableError("the database is away")
        return self.found

    def standing(self) -> Standing:
        return Standing({State.QUEUED: 2, State.RUNNING: 1}, 90.0, 3, 40.0)


@pytest.fixture
def database() -> FakeDatabase:
    return FakeDatabase()


@pytest.fixture
def exposition(database: FakeDatabase) -> Exposition:
    return Exposition(Instruments(), database, clock=lambda: 100.0)


def shown(exposition: Exposition) -> Samples:
    return samples(exposition.text(None)[0])


def test_what_eremetics_dashboards_look_for(database: FakeDatabase) -> None:
    """Behind the switch, under the very names of Eremetic, without the endings of ours."""
    database.found = [
        Tally(Metric.ENDED, ("succeeded", ""), "", 5, 0.0),
        Tally(Metric.ENDED, ("cancelled", "cancelled"), "", 2, 0.0),
        Tally(Metric.ENDED, ("failed", "step_failed"), "", 3, 0.0),
        Tally(Metric.ENDED, ("failed", "of another version"), "", 1, 0.0),
        Tally(Metric.ENDED, ("failed", "agent_lost"), "", 1, 0.0),
        Tally(Metric.PHASE, ("queued", "succeeded"), "5.0", 5, 9.0),
        Tally(Metric.PHASE, ("queued", "failed"), "5.0", 4, 9.0),
        Tally(Metric.PHASE, ("building", "failed"), "5.0", 4, 9.0),
    ]
    instruments = Instruments()
    for why, offers in (("insufficient_cpus", 7), ("idle", 100), ("void", 9), ("constraint", 1)):
        instruments.offers_declined.labels(why).inc(offers)
    found = shown(Exposition(instruments, database, clock=lambda: 100.0, eremetic=True))
    plain = {name: value for (name, labels), value in found.items() if not labels}
    wanted = {
        "scheduler_tasks_created": 15.0,  # 12 that ended, and 3 under way
        "scheduler_tasks_launched": 10.0,  # 9 that had a first attempt, and one that runs
        "scheduler_tasks_delayed": 8.0,
        "scheduler_tasks_running": 1.0,
        "scheduler_queue_size": 2.0,
    }
    assert {name: plain.get(name) for name in wanted} == wanted
    ends = {"FINISHED": 5.0, "KILLED": 2.0, "FAILED": 4.0, "LOST": 1.0}
    for status, count in ends.items():
        labels = {"status": f"TASK_{status}", "sequence": "final"}
        assert value(found, "scheduler_tasks_terminated", **labels) == count
    ours = shown(Exposition(Instruments(), database))
    assert not any(name.startswith("scheduler_") for name, _ in ours)


def test_buckets_are_cumulative_and_take_in_bounds_of_other_versions(
    exposition: Exposition, database: FakeDatabase
) -> None:
    database.found = [
        Tally(Metric.ENDED, ("failed", "step_failed"), "", 4, 0.0),
        Tally(Metric.DURATION, ("failed",), "2.0", 1, 1.5),
        Tally(Metric.DURATION, ("failed",), "45.0", 2, 80.0),
        Tally(Metric.DURATION, ("failed",), "+Inf", 1, 90000.0),
        Tally(Metric.PHASE, ("building", "failed"), "30.0", 1, 25.0),
    ]
    found = shown(exposition)
    assert value(found, "builder_builds_ended_total", state="failed", reason="step_failed") == 4
    name = "builder_build_duration_seconds"
    counts = {
        bound: value(found, f"{name}_bucket", outcome="failed", le=bound)
        for bound in ("1.0", "2.0", "30.0", "60.0", "86400.0", "+Inf")
    }
    assert counts == {"1.0": 0, "2.0": 1, "30.0": 1, "60.0": 3, "86400.0": 3, "+Inf": 4}
    assert value(found, f"{name}_count", outcome="failed") == 4
    assert value(found, f"{name}_sum", outcome="failed") == 90081.5
    phase = "builder_build_phase_duration_seconds_count"
    assert value(found, phase, phase="building", outcome="failed") == 1


def test_ages_are_counted_from_now(exposition: Exposition) -> None:
    found = shown(exposition)
    assert value(found, "builder_builds", state="queued") == 2
    assert value(found, "builder_queue_oldest_age_seconds") == 10.0
    assert value(found, "builder_webhooks_oldest_age_seconds") == 60.0


def test_without_a_database_the_rest_is_told(
    exposition: Exposition, database: FakeDatabase
) -> None:
    database.away = True
    found = shown(exposition)
    assert value(found, "builder_store_up") == 0
    assert value(found, "builder_builds", state="queued") is None
    assert value(found, "builder_leader") == 0
    assert value(found, "process_resident_memory_bytes") is not None
    database.away = False
    assert value(shown(exposition), "builder_store_up") == 1


def test_only_the_leader_speaks_of_the_master(exposition: Exposition) -> None:
    assert value(shown(exposition), "builder_mesos_connected") is None
    exposition.figures = lambda: Figures(True, 2.5, 3, 1, 2, 4, 0.5, 6)
    found = shown(exposition)
    assert value(found, "builder_leader") == value(found, "builder_mesos_connected") == 1
    assert value(found, "builder_mesos_subscriptions_total") == 3
    assert value(found, "builder_executors", state="idle") == 2
    assert value(found, "builder_log_lag_seconds") == 0.5


def made(
    builds: MemoryBuilds, exposition: Exposition, measures: Instruments, **more: bool
) -> Flask:
    people = People(SingleUser(USER, Secret(PASSWORD)))
    return create_app(
        builds,
        people,
        RequestPolicy(),
        instruments=measures,
        exposition=exposition,
        metrics_public=more.get("everybody", False),
    )


@pytest.fixture
def measures() -> Instruments:
    return Instruments()


@pytest.fixture
def scraped(builds: MemoryBuilds, database: FakeDatabase, measures: Instruments) -> FlaskClient:
    return made(builds, Exposition(measures, database), measures).test_client()


def test_it_needs_a_login_unless_the_operator_opens_it(
    scraped: FlaskClient, builds: MemoryBuilds, database: FakeDatabase
) -> None:
    assert scraped.get("/metrics").status_code == 401
    answer = scraped.get("/metrics", auth=AUTH)
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    other = Instruments()
    opened = made(builds, Exposition(other, database), other, everybody=True).test_client()
    assert opened.get("/metrics").status_code == 200
    assert opened.get("/api/v1/builds").status_code == 401


def test_openmetrics_for_who_asks_for_it(scraped: FlaskClient) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = scraped.get("/metrics", auth=AUTH, headers=accept)
    assert answer.mimetype == "application/openmetrics-text"
    assert answer.data.endswith(b"# EOF\n")


def test_requests_are_counted_by_route_and_never_by_path(scraped: FlaskClient) -> None:
    answer = scraped.post("/api/v1/builds", auth=AUTH, json=BODY)
    build_id = (answer.json or {})["id"]
    for _ in range(3):
        scraped.get(f"/api/v1/builds/{build_id}", auth=AUTH)
    scraped.get("/api/v1/builds/0000000000000000", auth=AUTH)
    scraped.get(f"/no/such/{build_id}", auth=AUTH)
    scraped.open("/healthz", method="BREW", auth=AUTH)
    scraped.get("/api/v1/builds", auth=(USER, "wrong"))
    text = scraped.get("/metrics", auth=AUTH).data
    found = samples(text)
    assert build_id.encode() not in text
    assert USER.encode() not in text

    def count(method: str, route: str, status: str) -> float | None:
        name = "builder_http_request_duration_seconds_count"
        return value(found, name, method=method, route=route, status=status)

    assert count("POST", "/api/v1/builds", "202") == 1
    assert count("GET", "/api/v1/builds/<build_id>", "200") == 3
    assert count("GET", "/api/v1/builds/<build_id>", "404") == 1
    assert count("GET", "none", "404") == 1
    assert count("other", "none", "405") == 1
    assert value(found, "builder_logins_failed_total") == 1


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def offers(bench: Bench) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in bench.instruments.registry.collect():
        for sample in family.samples:
            if sample.name.startswith("builder_offers") and sample.name.endswith("_total"):
                name = sample.name.removeprefix("builder_offers_").removesuffix("_total")
                found[sample.labels.get("reason", name)] = sample.value
    return found


def test_every_offer_is_counted_once_when_seen_and_once_when_answered(bench: Bench) -> None:
    bench.service.post(OffersReceived((offer("a0"),)))  # nobody knows our id yet: it becomes void
    bench.subscribe()
    bench.service.post(OffersReceived((offer("a1"), offer("a2"))))
    until(lambda: offers(bench).get("idle") == 2)
    submit(bench)
    bench.service.post(OffersReceived((offer("a3"), offer("a4"))))
    bench.cluster.wait_for("launch")
    until(lambda: offers(bench)["used"] == 1)
    submit(bench)
    bench.service.post(OffersReceived((offer("a5", cpus=0.1),)))
    until(lambda: offers(bench).get("insufficient_cpus") == 1)
    assert offers(bench) == {
        "seen": 6,
        "used": 1,
        "void": 1,
        "idle": 2,
        "not_needed": 1,
        "insufficient_cpus": 1,
    }
    bench.service.post(Disconnected())


def test_the_service_tells_what_it_is_busy_with(bench: Bench) -> None:
    now = bench.service.activity()
    assert (now.executors_busy, now.executors_idle, now.logs_followed, now.log_lag) == (0, 0, 0, 0)
