"""A backup is a whole database, and becomes one again only while nobody else uses it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder_framework.backup import backup, restore
from builder_framework.domain import events as ev
from builder_framework.election.database import DatabaseElection
from builder_framework.election.file import FileElection
from builder_framework.errors import BackupError, LeadershipLostError, NotFoundError
from builder_framework.store import migrate
from builder_framework.store.base import Change
from builder_framework.store.check import examine
from builder_framework.store.logs import DatabaseLogs
from builder_framework.store.sql import SqlStore
from devcluster.postgres import Postgres
from tests.contract.builds import PLACEMENT, after, build
from tests.contract.conftest import Open
from tests.contract.test_migrations import load, stored_revision
from tests.sealing import SEALER


@pytest.fixture(autouse=True)
def _programs(request: pytest.FixtureRequest) -> None:
    if "postgresql" in request.node.name and shutil.which("pg_dump") is None:
        pytest.skip("pg_dump is not installed")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "copies" / "yesterday"


@pytest.fixture
def copied(store: SqlStore, store_url: str, file: Path) -> Path:
    """A backup with build `a`, made while the database is open; build `b` came later."""
    file.parent.mkdir()
    one = build("a")
    store.apply([Change(one)])
    DatabaseLogs(store).append(one.id, b"hello")
    backup(store_url, file)
    store.apply([Change(after(one, ev.Placed(PLACEMENT)), one), Change(build("b"))])
    return file


def test_a_backup_brings_back_the_state_of_its_moment(
    store: SqlStore, store_url: str, opened: Open, copied: Path, tmp_path: Path
) -> None:
    store.close()
    restore(store_url, tmp_path, copied, force=True)
    assert examine(store_url, SEALER).problems == ()
    again = opened()
    assert again.unfinished() == [build("a")]
    assert DatabaseLogs(again).read(build("a").id, 0, 10) == b"hello"
    with pytest.raises(NotFoundError):
        again.get(build("b").id)


def test_who_led_after_the_backup_does_not_lead_what_was_restored(
    store: SqlStore, store_url: str, opened: Open, copied: Path, tmp_path: Path
) -> None:
    """The tokens that were given since are forgotten, and given again."""
    paused = store.lead("paused", None)
    store.close()
    restore(store_url, tmp_path, copied, force=True)
    again = opened()
    again.lead("new", None)
    # The paused process, as it wakes up on the database that has the same name.
    late = opened()
    late._token = paused
    with pytest.raises(LeadershipLostError):
        late.apply([Change(build("z"))])


def test_a_database_is_not_replaced_by_accident(
    store: SqlStore, store_url: str, opened: Open, copied: Path, tmp_path: Path
) -> None:
    store.close()
    with pytest.raises(BackupError, match="--force"):
        restore(store_url, tmp_path, copied, force=False)
    with pytest.raises(BackupError, match="exists already"):
        backup(store_url, copied)
    assert len(opened().unfinished()) == 2


def test_nothing_is_restored_while_a_framework_leads(
    store: SqlStore, store_url: str, copied: Path, tmp_path: Path
) -> None:
    sqlite = store_url.startswith("sqlite")
    store.close()
    leader = FileElection(tmp_path) if sqlite else DatabaseElection(store_url)
    assert leader.attempt()
    with pytest.raises(BackupError, match="stop"):
        restore(store_url, tmp_path, copied, force=True)
    leader.resign()
    restore(store_url, tmp_path, copied, force=True)


@pytest.fixture
def elsewhere(store_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A second database of the same kind."""
    if store_url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path / 'elsewhere' / 'builder.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    yield postgres.create_database("elsewhere")
    postgres.drop_database("elsewhere")


def test_a_new_machine_starts_with_a_backup(elsewhere: str, copied: Path, tmp_path: Path) -> None:
    restore(elsewhere, tmp_path / "elsewhere", copied, force=False)
    new = SqlStore(elsewhere, SEALER)
    assert new.unfinished() == [build("a")]
    new.close()


def test_a_backup_from_before_an_upgrade_is_migrated_again(
    store_url: str, tmp_path: Path, opened: Open
) -> None:
    load("0001", store_url)
    file = tmp_path / "before"
    backup(store_url, file)
    opened().close()
    restore(store_url, tmp_path, file, force=True)
    assert stored_revision(store_url) == "0001"
    assert len(opened().unfinished()) == 7
    assert stored_revision(store_url) == migrate.head()


def test_what_is_no_backup_changes_nothing(store: SqlStore, store_url: str, tmp_path: Path) -> None:
    store.apply([Change(build("a"))])
    store.close()
    no_backup = tmp_path / "letter"
    no_backup.write_bytes(b"Dear Sir or Madam, " * 500)
    for file in (no_backup, tmp_path / "missing"):
        with pytest.raises(BackupError):
            restore(store_url, tmp_path, file, force=True)
    again = SqlStore(store_url, SEALER)
    assert again.unfinished() == [build("a")]
    again.close()


def test_the_file_that_was_replaced_is_kept(tmp_path: Path) -> None:
    path, file = tmp_path / "builder.db", tmp_path / "copy"
    url = f"sqlite:///{path}"
    store = SqlStore(url, SEALER)
    backup(url, file)
    store.lead("here", None)
    store.apply([Change(build("a"))])
    # No close: the process was killed, and its last commits are in the log of writes only.
    restore(url, tmp_path, file, force=True)
    restored, kept = SqlStore(url, SEALER), SqlStore(f"sqlite:///{path}.replaced", SEALER)
    assert (restored.unfinished(), kept.unfinished()) == ([], [build("a")])
    for each in (store, restored, kept):
        each.close()


def test_a_backup_is_readable_for_its_owner_only(copied: Path) -> None:
    """Requests hold the passwords of repositories and registries."""
    assert copied.stat().st_mode & 0o777 == 0o600


def test_a_missing_program_is_named(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupError, match="pg_dump is not installed"):
        backup(postgres_url, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_another_database_is_not_taken_for_a_backup(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    made = sqlite3.connect(other)
    made.execute("CREATE TABLE letters (text)")
    made.close()
    with pytest.raises(BackupError, match="no database of this program"):
        restore(f"sqlite:///{tmp_path / 'builder.db'}", tmp_path, other, force=False)
    assert not (tmp_path / "builder.db").exists()
