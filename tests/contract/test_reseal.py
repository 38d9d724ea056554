"""A key is changed without a pause, and no process is left with rows that it cannot open."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from builder_framework.domain import events as ev
from builder_framework.errors import ConfigError, SchemaError, SealError, StoreUnavailableError
from builder_framework.ports import Idempotency
from builder_framework.seal import Sealer
from builder_framework.store import engine, tables
from builder_framework.store import reseal as module
from builder_framework.store.base import Change
from builder_framework.store.check import examine
from builder_framework.store.reseal import reseal
from builder_framework.store.sql import SqlStore
from tests.contract.builds import PLACEMENT, after
from tests.contract.test_inbox import wanting
from tests.contract.test_migrations import load
from tests.contract.test_sealed import ANNOUNCER, sealed_by, secretive, stored
from tests.sealing import SEALER, TEST_KEY

NEW_KEY = bytes(32)
NEW = Sealer([NEW_KEY])
BOTH = Sealer([NEW_KEY, TEST_KEY])
NAMES = "abc"
EVERYTHING = {"builds": 3, "deliveries": 6, "idempotency_keys": 3, "credentials": 3}


def used(url: str) -> dict[str, int]:
    """For each key what is sealed with it; nothing must be wrong."""
    found = examine(url, BOTH)
    assert found.problems == ()
    return found.keys


def test_afterwards_the_new_key_alone_opens_everything(store: SqlStore, store_url: str) -> None:
    builds = stored(store, *NAMES)
    assert reseal(store_url, BOTH) == EVERYTHING
    assert used(store_url) == {NEW.key_ids[0]: 18}
    with pytest.raises(ConfigError):
        SqlStore(store_url, SEALER)
    again = SqlStore(store_url, NEW)
    assert again.unfinished() == builds
    for name, one in zip(NAMES, builds, strict=True):
        known = again.known_key("me", name)
        assert known is not None
        known.check(Idempotency(name, "f" * 64))
        expected = ANNOUNCER.deliveries_of(None, one, 1.0)
        assert tuple(view.delivery for view in again.outbox.of_build(one.id)) == expected
    again.close()


def test_what_is_done_is_not_done_again(
    store: SqlStore, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches of any size, whose ends are not missed."""
    monkeypatch.setattr(module, "_BATCH", 2)
    stored(store, *NAMES)
    assert reseal(store_url, BOTH) == EVERYTHING
    assert reseal(store_url, BOTH) == dict.fromkeys(EVERYTHING, 0)
    assert reseal(store_url, NEW) == dict.fromkeys(EVERYTHING, 0)


def test_one_that_was_broken_off_leaves_both_keys_needed_and_goes_on(
    store: SqlStore, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(store, *NAMES)
    written = module._write

    def fail_at_the_last(*arguments: object) -> int:
        if arguments[1] is module._COLUMNS[-1]:
            raise StoreUnavailableError("the connection broke off")
        return written(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(module, "_write", fail_at_the_last)
        with pytest.raises(StoreUnavailableError):
            reseal(store_url, BOTH)
    for one in (NEW, SEALER):
        with pytest.raises(ConfigError, match="give that one"):
            SqlStore(store_url, one)
    SqlStore(store_url, BOTH).close()
    assert reseal(store_url, BOTH) == {**dict.fromkeys(EVERYTHING, 0), "credentials": 3}
    SqlStore(store_url, NEW).close()


def test_builds_go_on_meanwhile(store: SqlStore, store_url: str) -> None:
    """No compare-and-set fails, no version is counted twice, nothing is lost."""
    leader = SqlStore(store_url, BOTH)
    leader.lead("leader", None)
    builds = stored(leader, *(f"x{number:02}x" for number in range(40)))
    ended = threading.Event()
    changed: dict[str, object] = {}

    def change() -> None:
        for one in builds:
            placed = after(one, ev.Placed(replace(PLACEMENT, slot=1)))
            leader.apply([Change(placed, one)])
            changed[one.id] = placed
        ended.set()

    back = Sealer([TEST_KEY, NEW_KEY])
    thread = threading.Thread(target=change)
    thread.start()
    for _ in range(50):
        reseal(store_url, back)
        reseal(store_url, BOTH)
        if ended.is_set():
            break
    thread.join()
    assert {one.id: one for one in leader.unfinished()} == changed
    leader.close()
    assert set(used(store_url)) == {NEW.key_ids[0]}


@pytest.fixture
def held(store: SqlStore, postgres_url: str) -> Iterator[sa.Connection]:
    """The transaction of somebody who holds build `b` and waits for something else."""
    opened = engine.create(engine.parse(postgres_url))
    with opened.connect() as connection:
        connection.exec_driver_sql("SELECT 1 FROM builds WHERE id LIKE 'b%%' FOR UPDATE")
        yield connection
    opened.dispose()


@pytest.fixture
def filled(postgres_url: str) -> Iterator[SqlStore]:
    store = SqlStore(postgres_url, SEALER)
    store.lead("here", None)
    stored(store, *NAMES)
    yield store
    store.close()


class TestRowsInUse:
    """PostgreSQL's: SQLite has one writer at a time."""

    @pytest.fixture
    def store(self, filled: SqlStore) -> SqlStore:
        return filled

    def test_they_are_left_for_later_not_waited_for(
        self, held: sa.Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Waiting while it holds others could be a deadlock."""
        monkeypatch.setattr(module, "_BETWEEN_ROUNDS", 0.01)
        monkeypatch.setattr(time, "sleep", lambda _: held.rollback())
        assert reseal(postgres_url, BOTH) == EVERYTHING

    def test_whoever_holds_them_for_ever_is_told_of(
        self, held: sa.Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_BETWEEN_ROUNDS", 0.01)
        with pytest.raises(StoreUnavailableError, match="builds are in use all the time"):
            reseal(postgres_url, BOTH)
        with pytest.raises(ConfigError):
            SqlStore(postgres_url, NEW)
        held.rollback()
        reseal(postgres_url, BOTH)


def test_a_missing_key_ends_it_before_anything_changes(store: SqlStore, store_url: str) -> None:
    stored(store, *NAMES)
    with pytest.raises(ConfigError):
        reseal(store_url, NEW)
    sealed_by(NEW, store, secretive("d"))
    with pytest.raises(SealError, match=f"is sealed with key {NEW.key_ids[0]}"):
        reseal(store_url, SEALER)


def test_every_process_seals_with_the_databases_key_whatever_it_was_given_first(
    store: SqlStore, store_url: str
) -> None:
    """So keys may be given in any order, to one process after the other."""
    late = SqlStore(store_url, BOTH)
    late.submit(secretive("a"), None)
    assert set(used(store_url)) == set(SEALER.key_ids)
    reseal(store_url, BOTH)
    early = SqlStore(store_url, Sealer([TEST_KEY, NEW_KEY]))
    for name, each in (("b", late), ("c", early)):
        each.submit(secretive(name), None)
        each.close()
    assert set(used(store_url)) == set(NEW.key_ids)


def test_a_change_that_another_one_overtook_ends(
    store: SqlStore, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would leave rows of a key that nobody needs any more."""
    stored(store, *NAMES)
    third = Sealer([b"a third key, of thirty-two bytes", NEW_KEY, TEST_KEY])
    batches = module._batches

    def overtaken(*arguments: object) -> object:
        for batch in batches(*arguments):  # type: ignore[arg-type]
            monkeypatch.setattr(module, "_batches", batches)
            reseal(store_url, third)
            yield batch

    monkeypatch.setattr(module, "_batches", overtaken)
    all_keys = Sealer([NEW_KEY, TEST_KEY, b"a third key, of thirty-two bytes"])
    with pytest.raises(SealError, match="was changed from"):
        reseal(store_url, all_keys)
    assert set(examine(store_url, third).keys) == {third.key_ids[0]}


def test_no_digest_with_the_old_key_is_left(store: SqlStore, store_url: str) -> None:
    """It would do for trying passwords as soon as that key is known; builds are found anew."""
    store.submit(wanting("a"), None)
    assert store.same(wanting("b").request, "me") is not None
    reseal(store_url, BOTH)
    with store.reading() as connection:
        assert connection.execute(sa.select(tables.identities)).all() == []
    later = SqlStore(store_url, NEW)
    later.submit(wanting("c"), None)
    reseal(store_url, NEW)
    assert later.submit(wanting("d"), None) == (wanting("c"), False)
    later.close()


def test_a_database_of_another_version_is_left_alone(store_url: str) -> None:
    load("0002", store_url)
    with pytest.raises(SchemaError):
        reseal(store_url, BOTH)
