"""A server that stops, vanishes, or loses an answer: nothing is lost, and nobody restarts us."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from builder_framework.domain import events as ev
from builder_framework.errors import NotFoundError, StaleWriteError, StoreUnavailableError
from builder_framework.store.base import Change
from builder_framework.store.engine import PatientConnection
from builder_framework.store.sql import SqlStore
from devcluster.postgres import Postgres
from tests.contract.builds import after, build
from tests.contract.proxy import Commit, Proxy
from tests.sealing import SEALER
from tests.unit.waiting import until


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[Proxy]:
    made = Proxy(postgres.port)
    yield made
    made.close()


@pytest.fixture
def store(
    proxy: Proxy, postgres: Postgres, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SqlStore]:
    monkeypatch.setattr(PatientConnection, "patience", 1.0)
    store = SqlStore(postgres_url.replace(f":{postgres.port}/", f":{proxy.port}/"), SEALER)
    store.lead("here", None)
    yield store
    store.close()


def crash(postgres: Postgres) -> None:
    postgres.kill()


def shut_down(postgres: Postgres) -> None:
    postgres.stop()


def freeze(postgres: Postgres) -> None:
    postgres.pause()


def end_sessions(postgres: Postgres) -> None:
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'builder'"
    )


@pytest.mark.parametrize("fault", [crash, shut_down, freeze])
def test_a_server_that_is_away_is_told_and_its_return_is_noticed(
    store: SqlStore, postgres: Postgres, fault: Callable[[Postgres], None]
) -> None:
    one = build("a")
    store.apply([Change(one)])
    fault(postgres)
    try:
        for call in (
            lambda: store.apply([Change(build("b"))]),
            lambda: store.get(one.id),
            store.ping,
        ):
            with pytest.raises(StoreUnavailableError):
                call()
    finally:
        postgres.resume()
        postgres.start()
    until(lambda: answers(store), timeout=20)
    over = after(one, ev.CancelRequested("ann"))
    store.apply([Change(over, one), Change(build("c"))])
    assert store.get(one.id) == over
    with pytest.raises(NotFoundError):
        store.get(build("b").id)


def answers(store: SqlStore) -> bool:
    """Whether the server is back: one that was frozen has work left to do first."""
    with contextlib.suppress(StoreUnavailableError):
        store.ping()
        return True
    return False


def test_ended_sessions_are_not_even_noticed(store: SqlStore, postgres: Postgres) -> None:
    store.ping()
    end_sessions(postgres)
    store.apply([Change(build("a"))])
    assert len(store.unfinished()) == 1


def test_a_commit_whose_answer_got_lost_is_known_to_have_happened(
    store: SqlStore, proxy: Proxy
) -> None:
    one = build("a")
    store.apply([Change(one)])
    over = after(one, ev.CancelRequested("ann"))
    proxy.commit = Commit.UNANSWERED
    store.apply([Change(over, one), Change(build("b"))])
    assert store.get(one.id) == over


def test_a_commit_that_got_lost_is_known_not_to_have_happened(
    store: SqlStore, proxy: Proxy
) -> None:
    one = build("a")
    proxy.commit = Commit.DROPPED
    with pytest.raises(StoreUnavailableError):
        store.apply([Change(one)])
    assert store.unfinished() == []
    store.apply([Change(one)])
    assert store.unfinished() == [one]


def test_a_commit_that_comes_after_its_call_failed_is_not_overlooked(
    store: SqlStore, proxy: Proxy
) -> None:
    """Its caller was told that nothing happened, and forgot the build that is stored now."""
    proxy.commit = Commit.DELAYED
    with pytest.raises(StoreUnavailableError):
        store.apply([Change(build("a"))])
    proxy.release()
    with pytest.raises(StaleWriteError, match="after all"):
        store.apply([Change(build("b"))])


def test_a_transaction_that_still_runs_is_waited_for_before_its_fate_is_told(
    store: SqlStore, proxy: Proxy
) -> None:
    """Its session hangs on the server, where the commit may arrive at any time."""
    proxy.commit = Commit.DELAYED
    with pytest.raises(StoreUnavailableError):
        store.apply([Change(build("a"))])
    proxy.away = False
    with pytest.raises(StoreUnavailableError):
        store.apply([Change(build("b"))])
    proxy.release()
    with pytest.raises(StaleWriteError, match="after all"):
        store.apply([Change(build("b"))])


def test_a_row_that_somebody_locks_is_waited_for_and_then_told(
    store: SqlStore, postgres_url: str
) -> None:
    one = build("a")
    store.apply([Change(one)])
    over = after(one, ev.CancelRequested("ann"))
    other = SqlStore(postgres_url, SEALER)
    with other.writing() as connection:
        connection.execute(sa.text("SELECT 1 FROM builds FOR UPDATE"))
        with pytest.raises(StoreUnavailableError):
            store.apply([Change(over, one)])
    store.apply([Change(over, one)])
    assert store.get(one.id) == over
    other.close()


def test_connections_are_limited_and_waited_for(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("SIZE", 1), ("OVERFLOW", 1), ("SECONDS", 0.2)):
        monkeypatch.setattr(f"builder_framework.store.engine._POOL_{name}", value)
    store = SqlStore(postgres_url, SEALER)
    with store.reading(), store.reading(), pytest.raises(StoreUnavailableError, match="busy"):
        store.ping()
    store.ping()
    store.close()


def test_errors_do_not_show_requests(store: SqlStore) -> None:
    """The server's details quote rows, secrets included."""
    store.apply([Change(build("a"))])
    with pytest.raises(StoreUnavailableError) as caught:
        store.apply([Change(build("a"))])
    assert "duplicate key" in str(caught.value)
    assert build("a").id not in str(caught.value)


_PATCHED = """
import sys
from gevent import monkey
monkey.patch_all()
import gevent
from sqlalchemy import text
from builder_framework.store.sql import SqlStore
from tests.sealing import SEALER
store, ticks = SqlStore(sys.argv[1], SEALER), []
def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0.05)
gevent.spawn(tick)
gevent.sleep(0)
before = len(ticks)
with store.reading() as connection:
    connection.execute(text("SELECT pg_sleep(2)"))
print(len(ticks) - before)
store.close()
"""


def test_a_slow_query_does_not_stop_other_greenlets(postgres_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PATCHED, postgres_url], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 5


def test_many_threads_share_the_connections(store: SqlStore) -> None:
    failed: list[Exception] = []

    def ask() -> None:
        try:
            for _ in range(5):
                store.ping()
        except StoreUnavailableError as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
