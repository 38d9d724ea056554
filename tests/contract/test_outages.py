"""The framework while its database is away: it promises nothing, forgets nothing, and goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from api import create_app
from builder_framework.cluster import OffersReceived, StatusUpdate
from builder_framework.domain.model import BuildRequest, Resources
from builder_framework.domain.states import State
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.protocol import Outcome, PushedImage, Report, encode_report
from builder_framework.recipe import GitSource, Source
from builder_framework.redact import Secret
from builder_framework.store.engine import PatientConnection
from builder_framework.users import SingleUser
from tests.unit.recording import Bench, offer
from tests.unit.waiting import until

REQUEST = BuildRequest(
    Source(GitSource("https://git.example.org/app.git")),
    ("registry.example.org/app:1",),
    timeout=600.0,
    queue_ttl=600.0,
    resources=Resources(1.0, 512.0),
)
BODY = {
    "source": {"git": {"url": "https://git.example.org/app.git"}},
    "images": ["registry.example.org/app:2"],
}
Outage = Callable[[], AbstractContextManager[None]]


@pytest.fixture(params=["locked", "frozen", "stopped"])
def fault(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def bench(fault: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    url = None if fault == "locked" else request.getfixturevalue("postgres_url")
    made = Bench(tmp_path, url=url)
    yield made
    made.close()


@pytest.fixture
def outage(
    fault: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Outage:
    monkeypatch.setattr("builder_framework.store.engine.BUSY_PATIENCE", 0.05)
    monkeypatch.setattr(PatientConnection, "patience", 0.5)

    @contextmanager
    def locked() -> Iterator[None]:
        other = sqlite3.connect(tmp_path / "builder.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")
        other.close()

    @contextmanager
    def away() -> Iterator[None]:
        postgres = request.getfixturevalue("postgres")
        (postgres.pause if fault == "frozen" else postgres.kill)()
        yield
        postgres.resume()
        postgres.start()

    return locked if fault == "locked" else away


def test_nothing_is_promised_or_acknowledged_until_the_database_is_back(
    bench: Bench, outage: Outage
) -> None:
    bench.subscribe()
    view = bench.service.submit(REQUEST, "me")[0]
    bench.service.post(OffersReceived((offer(),)))
    bench.cluster.wait_for("launch")
    user = SingleUser("ann", Secret("password"))
    client = create_app(bench.service, People(user), RequestPolicy()).test_client()
    auth = ("ann", "password")
    done = Report(
        outcome=Outcome.SUCCEEDED,
        digest="sha256:1",
        images=(PushedImage(REQUEST.images[0], "sha256:1"),),
    )
    update = StatusUpdate(
        f"{view.build.id}.1", "a1", "TASK_FINISHED", data=encode_report(done), uuid="u"
    )
    with outage():
        bench.service.post(update)
        refused = client.post("/api/v1/builds", json=BODY, auth=auth)
        assert (refused.status_code, refused.get_json()["code"]) == (503, "store_unavailable")
        assert client.get("/readyz").status_code == 503
        assert "acknowledge" not in bench.cluster.names()
        assert bench.service.get(view.build.id).build.state is State.STAGING
    # Unacknowledged updates come again; that is their agent's part.
    until(lambda: client.get("/readyz").status_code == 200, timeout=30.0)
    bench.service.post(update)
    assert bench.cluster.wait_for("acknowledge", timeout=30.0) == update
    assert bench.service.get(view.build.id).build.state is State.SUCCEEDED
    assert client.post("/api/v1/builds", json=BODY, auth=auth).status_code == 202
    assert bench.fatal == []


def test_who_does_not_lead_any_more_ends_and_acknowledges_nothing(bench: Bench) -> None:
    bench.subscribe()
    view = bench.service.submit(REQUEST, "me")[0]
    bench.service.post(OffersReceived((offer(),)))
    bench.cluster.wait_for("launch")
    with bench.store.writing() as connection:
        connection.exec_driver_sql("UPDATE leadership SET token = token + 1, holder = 'new:1'")
    bench.service.post(StatusUpdate(f"{view.build.id}.1", "a1", "TASK_RUNNING", uuid="u"))
    until(lambda: bench.fatal)
    assert "new:1" in bench.fatal[0]
    assert "acknowledge" not in bench.cluster.names()
