"""Databases of every released version are taken over whole, however often that is broken off."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from api import schemas
from builder_framework.domain import events as ev
from builder_framework.domain import words
from builder_framework.domain.states import State
from builder_framework.errors import ConflictError, SchemaError
from builder_framework.ports import Idempotency, ListQuery, RequestPolicy
from builder_framework.recipe import RegistryAuth
from builder_framework.redact import Secret
from builder_framework.store import engine, migrate, tables
from builder_framework.store.base import CANCEL, SUBMITTED, Change, InboxItem, KnownKey, Leader
from builder_framework.store.sql import SqlStore
from tests.contract.builds import after, build
from tests.contract.conftest import Open
from tests.sealing import SEALER
from tests.sources import git_of

DATA = Path(__file__).parent.parent / "data"
RELEASED = ["0001", "0002"]
LEADERS = {"0001": None, "0002": Leader(1, "old:1", "http://old:8080", 1500.0)}
STATES = {
    "queued": State.QUEUED,
    "staging": State.STAGING,
    "running": State.RUNNING,
    "cancelling": State.CANCELLING,
    "unreachable": State.UNREACHABLE,
    "succeeded": State.SUCCEEDED,
    "failed": State.FAILED,
    "cancelled": State.CANCELLED,
    "again": State.RUNNING,
}


def load(revision: str, url: str) -> None:
    """Fill an empty database with what a released version had written."""
    parsed = engine.parse(url)
    path = engine.sqlite_file(parsed)
    kind = "postgresql" if path is None else "sqlite"
    script = (DATA / f"schema-{revision}.{kind}.sql").read_text()
    if path is None:
        with psycopg.connect(engine.libpq(parsed)) as server:
            server.execute(script.encode())
        return
    file = sqlite3.connect(path)
    file.executescript(script)
    file.close()


def stored_revision(url: str) -> str | None:
    plain = sa.create_engine(engine.parse(url))
    with plain.connect() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    plain.dispose()
    return revision


@pytest.fixture(params=RELEASED)
def old_url(request: pytest.FixtureRequest, store_url: str) -> str:
    """A database as a released version left it."""
    load(request.param, store_url)
    return store_url


def test_everything_that_was_stored_is_there_and_goes_on(old_url: str, opened: Open) -> None:
    old = str(stored_revision(old_url))
    store = opened()
    assert stored_revision(old_url) == migrate.head()
    assert store.leader() == LEADERS[old]
    store.lead("here", None)
    builds = {name: store.get(name.ljust(16, "0")) for name in STATES}
    assert {name: each.state for name, each in builds.items()} == STATES
    succeeded = builds["succeeded"]
    assert succeeded.result.digest == "sha256:" + "1" * 64
    assert succeeded.request.labels == {"team": "succeeded"}
    assert {git_of(each.request.source).password for each in builds.values()} == {
        Secret("git-secret")
    }
    assert [attempt.number for attempt in builds["again"].attempts] == [1, 2]
    assert succeeded not in store.unfinished()
    assert store.known_key("ann", "key-failed") == KnownKey(f"{6:064x}", builds["failed"].id)
    assert store.framework_id() == "framework-1"
    for each in builds.values():
        store.apply([Change(after(each, ev.CancelRequested("eve")), each)])
    assert store.get(builds["queued"].id).state is State.CANCELLED
    assert store.get(builds["running"].id).state is State.CANCELLING
    newest = build("z")
    store.submit(newest, None)
    assert store.unfinished()[-1] == newest
    store.ping()


def test_what_was_stored_is_found_by_its_words_and_labels(old_url: str, opened: Open) -> None:
    """By the very words that it would have if it were stored now; by no secret."""
    store = opened()
    store.lead("here", None)
    for name in STATES:
        (labelled,), _ = store.list(ListQuery(label=("team", name)))
        assert labelled.id == name.ljust(16, "0")
    with store.reading() as connection:
        numbers = connection.execute(sa.select(tables.builds.c.id, tables.builds.c.seq)).all()
        found = connection.execute(sa.select(tables.words)).all()
    assert {(row.word, row.seq) for row in found} == {
        (word, seq) for id_, seq in numbers for word in words.of(store.get(id_))
    }
    assert not {row.word for row in found} & {"secret", "password"}


def test_what_the_second_schema_added_is_there_too(store_url: str, opened: Open) -> None:
    """Webhooks with their tries, the inbox, what an attempt was allowed to publish."""
    load("0002", store_url)
    store = opened()
    queued, running, failed = (store.get(n.ljust(16, "0")) for n in ("queued", "running", "failed"))
    assert queued.request.registry_auth == RegistryAuth("robot", Secret("registry-secret"))
    own = Secret("https://chat.example.org/hooks/AbCdEf/webhook-secret")
    assert [each.request.webhooks for each in (queued, running, failed)] == [(own,)] * 3
    assert running.pinned == "sha256:" + "1" * 64
    assert store.inbox(9) == [
        InboxItem(1, SUBMITTED, queued.id, "ann", 1000.0),
        InboxItem(3, CANCEL, running.id, "eve", 1600.0),
    ]
    told = store.outbox.of_build(failed.id)
    urls = [Secret("https://hooks.example.org/operator-secret"), own]
    assert [view.delivery.url for view in told] == urls * 3
    assert [made.status for view in told for made in view.tries] == [500] * 6
    assert {each.host for each in store.outbox.due(1e9, (), 9)} == {
        "hooks.example.org:443",
        "chat.example.org:443",
    }


def test_images_know_their_place_in_the_order_of_builds(old_url: str, opened: Open) -> None:
    """A build that comes after the upgrade is the newest of its tags."""
    store = opened()
    newest = build("z", image="queued")
    store.submit(newest, None)
    query = (
        sa.select(tables.builds.c.id, tables.builds.c.seq, tables.images.c.seq)
        .join(tables.images, tables.images.c.build_id == tables.builds.c.id)
        .order_by(tables.images.c.seq)
    )
    with store.reading() as connection:
        found = connection.execute(query).all()
    assert {each[0] for each in found} >= {name.ljust(16, "0") for name in STATES}
    assert all(own == of_image for _, own, of_image in found)
    assert found[-1][0] == newest.id


BODY = {
    "source": {
        "git": {
            "url": "https://git.example.org/queued.git",
            "username": "ann",
            "password": "git-secret",
        }
    },
    "images": ["registry.example.org/queued:1"],
    "registry_auth": {"username": "robot", "password": "registry-secret"},
}
"""With this the second schema's version had used `key-queued`."""


def test_a_key_that_was_used_before_the_upgrade_is_recognised(store_url: str, opened: Open) -> None:
    load("0002", store_url)
    store = opened()
    body = schemas.parse_build(BODY, RequestPolicy())
    key = Idempotency("key-queued", body.fingerprint("ann"))
    other = Idempotency("key-queued", body.fingerprint("bob"))
    made = replace(build("n"), owner="ann")
    assert store.submit(made, key) == (store.get("queued".ljust(16, "0")), False)
    with pytest.raises(ConflictError):
        store.submit(made, other)


def test_the_schema_is_the_one_that_a_new_database_has(old_url: str, opened: Open) -> None:
    opened()
    plain = sa.create_engine(engine.parse(old_url))
    with plain.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, tables.metadata) == []
    plain.dispose()


_KILLED = """
import os, signal, sys
import sqlalchemy as sa
from builder_framework.store.sql import SqlStore
from tests.sealing import SEALER
from tests.sources import git_of
left = [int(sys.argv[2])]
def count(_connection, _cursor, statement, *_rest):
    if statement.split()[0] in ("ALTER", "CREATE", "INSERT", "UPDATE", "DROP", "DELETE"):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sa.event.listen(sa.Engine, "before_cursor_execute", count)
SqlStore(sys.argv[1], SEALER)
"""


@pytest.mark.parametrize("statement", [2, 4, 6])
def test_a_migration_that_is_killed_leaves_the_old_schema_and_can_be_repeated(
    old_url: str, opened: Open, statement: int
) -> None:
    before = stored_revision(old_url)
    killed = subprocess.run([sys.executable, "-c", _KILLED, old_url, str(statement)], check=False)
    assert killed.returncode == -9
    assert stored_revision(old_url) == before
    store = opened()
    assert stored_revision(old_url) == migrate.head()
    assert store.get("running".ljust(16, "0")).state is State.RUNNING


def test_processes_that_start_at_once_migrate_once(old_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        starts = [pool.submit(SqlStore, old_url, SEALER) for _ in range(4)]
        stores = [start.result() for start in starts]
    for store in stores:
        store.ping()
        store.close()
    assert stored_revision(old_url) == migrate.head()


WRITES: list[Callable[[SqlStore], object]] = [
    lambda store: store.apply([Change(build("b"))]),
    lambda store: store.save_framework_id("new"),
    lambda store: store.submit(build("c"), None),
    lambda store: store.ask_cancel(build("a").id, "ann", 1.0),
    lambda store: store.lead("here", None),
    lambda store: store.ping(),
]


@pytest.mark.parametrize("write", WRITES)
def test_a_newer_schema_is_read_but_not_written(
    store: SqlStore, write: Callable[[SqlStore], object]
) -> None:
    """A newer version was started beside this one, which has not noticed."""
    store.apply([Change(build("a"))])
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaError, match="has schema 9999, this version writes"):
        write(store)
    assert store.unfinished() == [build("a")]
    assert store.inbox(1) == []


def test_a_database_of_a_newer_version_is_not_opened(store: SqlStore, opened: Open) -> None:
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaError, match="restore a backup"):
        opened()
