"""What every store promises. A new store is one more subclass."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings

from builder_framework.domain import events as ev
from builder_framework.domain.delivery import Delivery, DeliveryState, Try, after_try
from builder_framework.domain.model import Build, BuildRequest
from builder_framework.domain.states import State
from builder_framework.errors import (
    InvalidInputError,
    NotFoundError,
    StaleWriteError,
    StoreUnavailableError,
)
from builder_framework.ports import DeliveryView, Idempotency, ListQuery
from builder_framework.protocol import Phase, PushedImage, Reason, Report
from builder_framework.redact import Secret
from builder_framework.store import tables
from builder_framework.store.base import Change, KnownKey, Store
from builder_framework.store.sql import SqlStore
from tests.contract.builds import PLACEMENT, after, build
from tests.sealing import SEALER
from tests.unit import strategies


def hook(name: str, of: Build, url: str = "https://hooks/x", at: float = 2.0) -> Delivery:
    return Delivery(name, of.id, "build.queued", Secret(url), "{}", created_at=1.0, next_at=at)


class StoreContract:
    """The promises of `Store`."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        raise NotImplementedError

    def test_what_was_stored_is_read_back_equal(self, store: Store) -> None:
        fresh = build("a")
        store.apply([Change(fresh)])
        assert store.get(fresh.id) == fresh
        report = Report(
            phase=Phase.PUSHING,
            commit="c0ffee",
            digest="sha256:1",
            images=(PushedImage("x", "sha256:1"),),
            size=5,
            timings={"building": 1.5},
        )
        ran = after(fresh, ev.Placed(PLACEMENT), ev.TaskProgressed(1, report), ev.LogStarted(1, 7))
        store.apply([Change(ran, fresh)])
        assert store.get(fresh.id) == ran
        stopping = after(ran, ev.CancelRequested("ann"))
        store.apply([Change(stopping, ran)])
        assert store.get(fresh.id) == stopping
        over = after(stopping, ev.TaskKilled(1), ev.LogCompleted())
        store.apply([Change(over, stopping)])
        assert store.get(fresh.id) == over

    @settings(
        max_examples=25,
        # One test of two classes: each has a database of its own.
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
        deadline=None,
    )
    @given(request_=strategies.requests)
    def test_any_request_is_read_back_equal(self, store: Store, request_: BuildRequest) -> None:
        one = build("q")
        stored = replace(one, id=_fresh_id(), request=request_)
        store.apply([Change(stored)])
        assert store.get(stored.id).request == request_

    def test_any_message_can_be_stored(self, store: Store) -> None:
        """Compilers print what they like; what cannot be stored would come again for ever."""
        fresh = build("a")
        store.apply([Change(fresh)])
        placed = after(fresh, ev.Placed(PLACEMENT))
        failed = after(placed, ev.TaskFailed(1, Reason.STEP_FAILED, "a\0b \udcff größer"))
        store.apply([Change(failed, fresh)])
        assert store.get(fresh.id).message == "a\ufffdb ? größer"
        assert store.get(fresh.id).attempts[0].message == "a\ufffdb ? größer"

    def test_a_stale_write_changes_nothing_at_all(self, store: Store) -> None:
        first, second = build("a"), build("b")
        store.apply([Change(first), Change(second)])
        placed = after(first, ev.Placed(PLACEMENT))
        store.apply([Change(placed, first)])
        other = after(second, ev.CancelRequested("ann"))
        with pytest.raises(StaleWriteError):
            store.apply([Change(other, second), Change(after(first, ev.QueueExpired()), first)])
        assert store.get(second.id) == second
        assert store.get(first.id) == placed

    def test_unfinished_builds_come_in_order_of_acceptance(self, store: Store) -> None:
        builds = [build(name) for name in "cab"]
        store.apply([Change(b) for b in builds])
        over = after(builds[1], ev.CancelRequested("ann"))
        store.apply([Change(over, builds[1])])
        assert [b.id for b in store.unfinished()] == [builds[0].id, builds[2].id]

    def test_a_build_whose_log_is_not_complete_is_unfinished(self, store: Store) -> None:
        fresh = build("a")
        ran = after(
            fresh,
            ev.Placed(PLACEMENT),
            ev.TaskProgressed(1, Report(phase=Phase.CLONING)),
            ev.TaskFailed(1, Reason.STEP_FAILED, "no"),
        )
        store.apply([Change(fresh)])
        store.apply([Change(ran, fresh)])
        assert store.unfinished() == [ran]
        store.apply([Change(after(ran, ev.LogCompleted()), ran)])
        assert store.unfinished() == []

    def test_pages_cover_everything_once_newest_first(self, store: Store) -> None:
        builds = [build(f"p{n}") for n in range(7)]
        for one in builds:
            store.apply([Change(one)])
        seen: list[str] = []
        cursor = None
        while True:
            page, cursor = store.list(ListQuery(limit=3, cursor=cursor))
            seen += [b.id for b in page]
            if cursor is None:
                break
        assert seen == [b.id for b in reversed(builds)]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            (ListQuery(image="registry.example.org/web:1"), ["b"]),
            (ListQuery(git_url="https://git.example.org/app.git"), ["b", "a"]),
            (ListQuery(owner="you"), ["c"]),
            (ListQuery(label=("team", "api")), ["c"]),
            (ListQuery(label=("team", "a%")), []),
            (ListQuery(label=("team", "a\0")), []),
            (ListQuery(owner="\0", git_url="\0", image="\0"), []),
            (ListQuery(states=(State.CANCELLED,)), ["a"]),
            (ListQuery(states=(State.QUEUED,), owner="me"), ["b"]),
        ],
    )
    def test_filters(self, store: Store, query: ListQuery, expected: list[str]) -> None:
        one = build("a")
        store.apply([Change(one)])
        store.apply([Change(build("b", image="web"))])
        store.apply([Change(build("c", git="api", owner="you"))])
        store.apply([Change(after(one, ev.CancelRequested("ann")), one)])
        page, _ = store.list(query)
        assert [b.id[0] for b in page] == expected

    @pytest.mark.parametrize(
        "cursor", ["", "x", "c2VxOi0x", "c2VxOjk5OTk5OTk5OTk5OTk5OTk5OTk5", "é"]
    )
    def test_a_forged_cursor_is_refused_by_name(self, store: Store, cursor: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            store.list(ListQuery(cursor=cursor))
        assert caught.value.problems[0].field == "cursor"

    def test_a_key_remembers_its_build_per_owner(self, store: Store) -> None:
        one = build("a")
        store.apply([Change(one, keys=(Idempotency("k", "f" * 64),))])
        assert store.known_key("me", "k") == KnownKey("f" * 64, one.id)
        assert store.known_key("you", "k") is None

    def test_the_framework_id_is_kept(self, store: Store) -> None:
        assert store.framework_id() is None
        store.save_framework_id("one")
        store.save_framework_id("two")
        assert store.framework_id() == "two"

    # -- webhooks ------------------------------------------------------------------------------

    def test_webhooks_are_stored_with_the_change_they_tell_of_or_not_at_all(
        self, store: Store
    ) -> None:
        one = build("a")
        store.apply([Change(one)])
        placed = after(one, ev.Placed(PLACEMENT))
        store.apply([Change(placed, one, deliveries=(hook("m1", one), hook("m2", one)))])
        assert [view.delivery for view in store.outbox.of_build(one.id)] == [
            hook("m1", one),
            hook("m2", one),
        ]
        late = after(one, ev.QueueExpired())
        with pytest.raises(StaleWriteError):
            store.apply([Change(late, one, deliveries=(hook("m3", one),))])
        assert [d.id for d in store.outbox.due(9.0, (), 9)] == ["m1"]

    def test_each_host_gives_the_one_that_is_due_longest(self, store: Store) -> None:
        one = build("a")
        hooks = (
            hook("late", one, "https://a/", at=5.0),
            hook("early", one, "https://a/other", at=4.0),
            hook("port", one, "https://a:8443/", at=3.0),
            hook("not yet", one, "https://b/", at=9.0),
        )
        store.apply([Change(one, deliveries=hooks)])

        def due(now: float, *busy: str, limit: int = 9) -> list[str]:
            return [delivery.id for delivery in store.outbox.due(now, busy, limit)]

        assert due(8.0) == ["port", "early"]
        assert due(8.0, limit=1) == ["port"]
        assert due(8.0, "a:8443") == ["early"]
        assert due(9.0, "a:8443", "a:443") == ["not yet"]
        assert due(2.0) == []

    def test_each_try_is_kept_and_decides_what_comes_next(self, store: Store) -> None:
        one = build("a")
        store.apply([Change(one, deliveries=(hook("m1", one),))])
        failed = Try(at=10.0, seconds=1.5, status=None, error="refused")
        (delivery,) = store.outbox.due(10.0, (), 9)
        delivery = after_try(delivery, failed, 0.0)
        store.outbox.record(delivery, failed)
        assert store.outbox.due(16.0, (), 9) == []
        assert store.outbox.due(17.0, (), 9) == [delivery]
        taken = Try(at=17.0, seconds=0.5, status=204, error=None)
        delivery = after_try(delivery, taken, 0.0)
        store.outbox.record(delivery, taken)
        assert store.outbox.due(1e9, (), 9) == []
        assert store.outbox.of_build(one.id) == (DeliveryView(delivery, (failed, taken)),)

    def test_a_try_is_recorded_once(self, store: Store) -> None:
        """A leader that was paused must not undo what the next one did."""
        one = build("a")
        store.apply([Change(one, deliveries=(hook("m1", one),))])
        taken = Try(at=17.0, seconds=0.5, status=204, error=None)
        delivered = after_try(hook("m1", one), taken, 0.0)
        store.outbox.record(delivered, taken)
        failed = Try(at=18.0, seconds=0.5, status=500, error="answered 500")
        with pytest.raises(StaleWriteError):
            store.outbox.record(after_try(hook("m1", one), failed, 0.0), failed)
        assert store.outbox.of_build(one.id) == (DeliveryView(delivered, (taken,)),)

    @pytest.mark.parametrize(
        "made", [Try(17.0, 0.5, 204, None), Try(17.0, 0.5, 410, "answered 410")]
    )
    def test_what_was_delivered_or_given_up_can_be_sent_again(
        self, store: Store, made: Try
    ) -> None:
        one = build("a")
        store.apply([Change(one, deliveries=(hook("m1", one),))])
        store.outbox.record(after_try(hook("m1", one), made, 0.0), made)
        assert store.outbox.due(1e9, (), 9) == []
        view = store.outbox.redeliver(one.id, "m1", 50.0)
        assert (view.delivery.state, view.delivery.next_at) == (DeliveryState.PENDING, 50.0)
        assert view.tries == (made,)
        (due,) = store.outbox.due(50.0, (), 9)
        assert due == view.delivery
        store.outbox.record(after_try(due, made, 0.0), made)
        assert store.outbox.redeliver(one.id, "m1", 1e9).tries == (made, made)

    def test_a_delivery_of_another_build_is_not_found(self, store: Store) -> None:
        one, other = build("a"), build("b")
        store.apply([Change(one, deliveries=(hook("m1", one),)), Change(other)])
        for build_id, delivery_id in ((other.id, "m1"), (one.id, "m2")):
            with pytest.raises(NotFoundError):
                store.outbox.redeliver(build_id, delivery_id, 1.0)
        assert store.outbox.of_build(other.id) == ()

    def test_what_is_not_there_is_not_found(self, store: Store) -> None:
        for build_id in ("0" * 16, "\0"):
            with pytest.raises(NotFoundError):
                store.get(build_id)

    def test_ping_proves_a_write(self, store: Store) -> None:
        store.ping()
        store.ping()


_counter = iter(range(10**9))


def _fresh_id() -> str:
    return f"{next(_counter):016d}"


class TestSqlite(StoreContract):
    """SQLite in a file, as the framework uses it."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "builder.db"

    @pytest.fixture
    def store(self, path: Path) -> Iterator[Store]:
        store = SqlStore(f"sqlite:///{path}", SEALER)
        store.lead("here", None)
        yield store
        store.close()

    def test_it_survives_a_restart(self, store: Store, path: Path) -> None:
        one = build("a")
        store.apply([Change(one)])
        # No close: this is what a SIGKILL leaves.
        again = SqlStore(f"sqlite:///{path}", SEALER)
        assert again.get(one.id) == one
        again.close()

    def test_a_commit_is_durable_before_it_is_told(self, store: Store) -> None:
        """WAL with synchronous=NORMAL would lose acknowledged builds at a power cut."""
        assert isinstance(store, SqlStore)
        with store._engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2

    def test_a_locked_database_says_so_and_works_again_later(
        self, store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("builder_framework.store.engine.BUSY_PATIENCE", 0.05)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        one = build("a")
        with pytest.raises(StoreUnavailableError):
            store.apply([Change(one)])
        assert store.unfinished() == []
        other.execute("ROLLBACK")
        other.close()
        store.apply([Change(one)])
        assert store.get(one.id) == one

    def test_errors_do_not_show_requests(self, store: Store) -> None:
        """SQLAlchemy prints a failed statement with its parameters, secrets included."""
        one = build("a")
        store.apply([Change(one)])
        with pytest.raises(StoreUnavailableError) as caught:
            store.apply([Change(one)])
        assert "git.example.org" not in str(caught.value)

    @pytest.mark.usefixtures("store")
    def test_migrations_and_tables_agree(self, path: Path) -> None:
        engine = sa.create_engine(f"sqlite:///{path}")
        with engine.connect() as connection:
            context = MigrationContext.configure(connection)
            assert compare_metadata(context, tables.metadata) == []
        engine.dispose()


class TestPostgres(StoreContract):
    """A real PostgreSQL server."""

    @pytest.fixture
    def store(self, postgres_url: str) -> Iterator[Store]:
        store = SqlStore(postgres_url, SEALER)
        store.lead("here", None)
        yield store
        store.close()
