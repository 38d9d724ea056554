"""Whoever reads the database, its files or a backup finds no secret; whoever has the key does."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from api import create_app, schemas
from builder_framework.cluster import OffersReceived
from builder_framework.domain.announcer import Announcer
from builder_framework.domain.model import Build
from builder_framework.domain.projects import Project
from builder_framework.errors import ConfigError, SchemaError, SealError, StoreUnavailableError
from builder_framework.people import People
from builder_framework.ports import Builds, Idempotency, ListQuery, RequestPolicy
from builder_framework.recipe import Source
from builder_framework.redact import Secret
from builder_framework.seal import Sealer
from builder_framework.service.follower import Follower
from builder_framework.service.logs import LogStore
from builder_framework.store import changes, engine
from builder_framework.store.base import Change
from builder_framework.store.check import examine
from builder_framework.store.projects import SqlProjects
from builder_framework.store.reseal import reseal
from builder_framework.store.sql import SqlStore
from builder_framework.users import SingleUser
from tests.contract.builds import build
from tests.contract.conftest import Open
from tests.contract.dump import places, shown
from tests.contract.test_migrations import load
from tests.sealing import SEALER, TEST_KEY
from tests.sources import git_of
from tests.unit.recording import Bench, offer
from tests.unit.waiting import until

OTHER = Sealer([bytes(32)])
PASSWORD = "user-canary-0123456789"
SECRETS = {
    "git": "git canary/0123+456=789",
    "registry": "registry-canary:0123456789",
    "webhook": "webhookCanary0123456789",
    "operator": "operatorCanary0123456789",
}
BODY: dict[str, Any] = {
    "source": {
        "git": {
            "url": "https://git.example.org/app.git",
            "username": "ann",
            "password": SECRETS["git"],
        }
    },
    "images": ["registry.example.org/app:1"],
    "registry_auth": {"username": "robot", "password": SECRETS["registry"]},
    "webhooks": [f"https://chat.example.org/hooks/{SECRETS['webhook']}"],
}
OPERATOR = f"https://hooks.example.org/{SECRETS['operator']}"
ANNOUNCER = Announcer((Secret(OPERATOR),))
POLICY = RequestPolicy(webhook_hosts=("chat.example.org",))


@pytest.fixture
def bench(store_url: str, tmp_path: Path) -> Iterator[Bench]:
    """A leader with an operator's webhook of its own."""
    made = Bench(tmp_path, announce=ANNOUNCER.deliveries_of, url=store_url)
    yield made
    made.close()


def client(builds: Builds) -> FlaskClient:
    return create_app(builds, People(SingleUser("ann", Secret(PASSWORD))), POLICY).test_client()


def submit(http: FlaskClient, key: str) -> str:
    headers = {"Idempotency-Key": key}
    answer = http.post("/api/v1/builds", json=BODY, auth=("ann", PASSWORD), headers=headers)
    assert answer.status_code == 202, answer.text
    build_id: str = answer.get_json()["id"]
    return build_id


def test_no_place_of_the_database_shows_a_secret(
    bench: Bench, store_url: str, tmp_path: Path
) -> None:
    """Through leader and follower, with every secret that a request and the settings may have."""
    leader = client(bench.service)
    follower = client(
        Follower(bench.store, LogStore(tmp_path / "logs"), bench.clock, ANNOUNCER.deliveries_of)
    )
    ids = [submit(leader, "one"), submit(follower, "two")]
    assert ids == [submit(leader, "one"), submit(leader, "two")]
    bench.subscribe()
    bench.service.post(OffersReceived((offer(),)))
    bench.cluster.wait_for("launch")
    for build_id in ids:
        leader.post(f"/api/v1/builds/{build_id}/cancel", auth=("ann", PASSWORD))
        assert bench.store.get(build_id).request.webhooks == (Secret(BODY["webhooks"][0]),)
        urls = {view.delivery.url for view in bench.store.outbox.of_build(build_id)}
        assert urls == {Secret(OPERATOR), Secret(BODY["webhooks"][0])}
    assert shown([*SECRETS.values(), PASSWORD], store_url) == []
    fingerprint = schemas.parse_build(BODY, POLICY).fingerprint("ann")
    assert not any(fingerprint in text for text in places(store_url).values())


def test_a_signed_url_is_a_secret(bench: Bench, store_url: str) -> None:
    """Whoever has it may fetch the archive."""
    signature = "signature-canary-0123456789"
    address = f"https://store.example/a.tgz?expires=1&signature={signature}"
    body = {**BODY, "source": {"tarball": {"url": address}}}
    answer = client(bench.service).post("/api/v1/builds", json=body, auth=("ann", PASSWORD))
    assert answer.status_code == 202, answer.text
    kept = bench.store.get(answer.get_json()["id"]).request.source.tarball
    assert kept is not None
    assert kept.address == address
    assert shown([signature], store_url) == []


def test_the_search_for_secrets_finds_them(store_url: str, opened: Open) -> None:
    """In clear, and in base64 inside something else."""
    store = opened()
    value = base64.b64encode(f"ann:{SECRETS['git']}".encode()).decode()
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE settings SET value = 'x'")
        connection.execute(sa.text("INSERT INTO settings VALUES ('a', :a)"), {"a": value})
    assert (SECRETS["git"], "settings.value") in shown([SECRETS["git"]], store_url)


OLD_SECRETS = [
    "git-secret",
    "registry-secret",
    "hooks/AbCdEf/webhook-secret",
    "operator-secret",
    # The fingerprint of a body.
    "b5baa2c28701b4dabe7bbdd6179278bf02fcc1e28a9944796d999d9430afe145",
]


def test_an_upgrade_leaves_nothing_in_clear(store_url: str, opened: Open) -> None:
    """With SQLite neither in unused pages of the file nor in its log of writes."""
    load("0002", store_url)
    assert {secret for secret, _ in shown(OLD_SECRETS, store_url)} == set(OLD_SECRETS)
    store = opened()
    assert shown(OLD_SECRETS, store_url) == []
    assert examine(store_url, SEALER).problems == ()
    store.close()
    assert shown(OLD_SECRETS, store_url) == []


def test_an_upgrade_that_ended_before_the_file_was_written_anew_goes_on_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path / 'builder.db'}"
    load("0002", url)
    with monkeypatch.context() as patched:
        patched.setattr(engine, "write_anew", _disk_full)
        SqlStore(url, SEALER).close()
    assert "may hold secrets in clear until the next start: disk full" in caplog.text
    assert examine(url, SEALER).problems == (
        "unused pages of the file may hold secrets in clear: start the framework once",
    )
    SqlStore(url, SEALER).close()
    assert shown(OLD_SECRETS, url) == []
    assert examine(url, SEALER).problems == ()


def _disk_full(_: sa.Engine) -> None:
    raise StoreUnavailableError("disk full")


# -- with another key --------------------------------------------------------------------------


def test_a_process_with_another_key_does_not_start(store: SqlStore, store_url: str) -> None:
    """Beside one that runs, or on a backup of another machine."""
    store.apply([Change(build("a"))])
    (needed,), (here,) = SEALER.key_ids, OTHER.key_ids
    with pytest.raises(ConfigError) as caught:
        SqlStore(store_url, OTHER)
    (problem,) = caught.value.problems
    assert problem.field == "secret_key"
    assert problem.problem == (
        f"secrets of the database are sealed with key {needed}, and the keys here are {here}: "
        "give that one"
    )
    assert store.unfinished() == [build("a")]


WRITES: list[Callable[[SqlStore], object]] = [
    lambda store: store.submit(build("b"), None),
    lambda store: store.apply([Change(build("b"))]),
    lambda store: store.ping(),
]


@pytest.mark.parametrize("write", WRITES)
def test_a_process_with_the_old_key_only_writes_nothing_after_the_key_was_changed(
    store: SqlStore, store_url: str, write: Callable[[SqlStore], object]
) -> None:
    """What it sealed nobody would look for; and it does not lead again."""
    reseal(store_url, Sealer([bytes(32), TEST_KEY]))
    (new,), (here,) = OTHER.key_ids, SEALER.key_ids
    with pytest.raises(SealError) as caught:
        write(store)
    assert caught.value.message == (
        f"the key to seal with is {new}, and the keys here are {here}: add that key to secret_key"
    )
    assert store.unfinished() == []
    with pytest.raises(ConfigError, match="give that one"):
        store.lead("late", None)


def test_a_leader_ends_that_cannot_open_what_a_follower_stored(
    bench: Bench, store_url: str
) -> None:
    """The follower, which has both keys, is elected next."""
    reseal(store_url, Sealer([bytes(32), TEST_KEY]))
    follower = SqlStore(store_url, Sealer([bytes(32), TEST_KEY]))
    follower.submit(secretive("a"), None)
    until(lambda: bench.fatal != [])
    assert f"is sealed with key {OTHER.key_ids[0]}, and the keys here are" in bench.fatal[0]
    follower.close()


def test_a_database_whose_proof_is_gone_is_not_used(store: SqlStore, store_url: str) -> None:
    with store.writing() as connection:
        connection.exec_driver_sql("DELETE FROM settings WHERE name = 'sealed'")
    with pytest.raises(SchemaError, match="does not say which key"):
        SqlStore(store_url, SEALER)


def test_a_proof_that_was_damaged_is_told(store: SqlStore, store_url: str) -> None:
    with store.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE settings SET value = substr(value, 1, 40) WHERE name = 'sealed'"
        )
    with pytest.raises(ConfigError, match="was changed or moved"):
        SqlStore(store_url, SEALER)


# -- damage and tampering ----------------------------------------------------------------------


def secretive(name: str) -> Build:
    """A build with a password, a webhook and what tells of it."""
    made = build(name)
    git = replace(
        git_of(made.request.source), username="ann", password=Secret(f"password of {name}")
    )
    request = replace(made.request, source=Source(git), webhooks=(Secret("https://h.example/x"),))
    return replace(made, request=request)


def sealed_by(sealer: Sealer, store: SqlStore, one: Build) -> None:
    """A build's row that is sealed with another key than the database's."""
    with store.writing() as connection:
        changes.insert(connection, one, sealer)


def stored(store: SqlStore, *names: str) -> list[Build]:
    """New builds, each with a key of that name and a webhook; and a project's secrets so named."""
    builds = [secretive(name) for name in names]
    store.apply(
        [
            Change(
                one,
                keys=(Idempotency(name, "f" * 64),),
                deliveries=ANNOUNCER.deliveries_of(None, one, 1.0),
            )
            for name, one in zip(names, builds, strict=True)
        ]
    )
    projects = SqlProjects(store, store._sealer)
    projects.put(Project("p"))
    for name in names:
        projects.put_credential("p", name, Secret(f"secret of {name}"))
    return builds


MOVES = {
    "builds": "UPDATE builds SET request = (SELECT request FROM builds WHERE id LIKE 'b%%') "
    "WHERE id LIKE 'a%%'",
    "deliveries": "UPDATE deliveries SET url = "
    "(SELECT url FROM deliveries WHERE build_id LIKE 'b%%' LIMIT 1) WHERE build_id LIKE 'a%%'",
    "idempotency_keys": "UPDATE idempotency_keys SET fingerprint = "
    "(SELECT fingerprint FROM idempotency_keys WHERE key = 'b') WHERE key = 'a'",
    "credentials": "UPDATE credentials SET value = "
    "(SELECT value FROM credentials WHERE name = 'b') WHERE name = 'a'",
}
READS: dict[str, Callable[[SqlStore], object]] = {
    "builds": lambda store: store.get(build("a").id),
    "deliveries": lambda store: store.outbox.of_build(build("a").id),
    "idempotency_keys": lambda store: store.known_key("me", "a"),
    "credentials": lambda store: SqlProjects(store, SEALER).credentials("p"),
}


@pytest.mark.parametrize("table", list(MOVES))
def test_a_value_that_was_moved_from_another_row_is_refused_and_found(
    store: SqlStore, store_url: str, table: str
) -> None:
    """Or whoever writes to the database could have one build use the password of another."""
    stored(store, "a", "b")
    with store.writing() as connection:
        connection.exec_driver_sql(MOVES[table])
    with pytest.raises(SealError, match=f"{table}/.* was changed or moved"):
        READS[table](store)
    problems = examine(store_url, SEALER).problems
    assert problems
    assert all(f"{table}/" in problem for problem in problems)


def test_what_is_not_sealed_is_refused_and_found(store: SqlStore, store_url: str) -> None:
    one, other = stored(store, "a", "b")
    with store.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE builds SET request = replace(request, 'sealed:1:', 'sealed:9:') "
            "WHERE id LIKE 'a%%'"
        )
    with pytest.raises(SealError):
        store.get(one.id)
    with pytest.raises(SealError):
        store.list(ListQuery())
    assert store.get(other.id) == other
    (problem,) = examine(store_url, SEALER).problems
    assert problem.startswith(f"build {one.id}: builds/{one.id}/request holds a value that is not")


def test_a_database_is_checked_without_its_key_too(store: SqlStore, store_url: str) -> None:
    stored(store, "a", "b")
    (needed,), (here,) = SEALER.key_ids, OTHER.key_ids
    for sealer, instead in ((OTHER, f"the keys here are {here}"), (None, "there is none here")):
        found = examine(store_url, sealer)
        (problem,) = found.problems
        assert problem.startswith("secret_key: secrets of the database are sealed with key ")
        assert f"{needed}, and {instead}: give that one" in problem
        # Of each build: password and webhook, two deliveries, and the fingerprint of its key.
        assert found.keys == {needed: 12}
    assert examine(store_url, SEALER).keys == {needed: 12}


def test_rows_of_a_key_that_is_missing_are_named_with_it(store: SqlStore, store_url: str) -> None:
    """However they came about."""
    both = Sealer([TEST_KEY, bytes(32)])
    sealed_by(OTHER, store, secretive("b"))
    (missing,) = OTHER.key_ids
    (problem,) = examine(store_url, SEALER).problems
    assert problem.startswith(f"build {build('b').id}: builds/{build('b').id}/request is sealed")
    assert f"with key {missing}, and the keys here are {SEALER.key_ids[0]}" in problem
    assert examine(store_url, both).problems == ()
