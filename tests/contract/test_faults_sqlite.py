"""A file that is locked, full, or gone: told, waited for, and never replaced by an empty one."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder_framework.domain import events as ev
from builder_framework.errors import NotFoundError, StoreUnavailableError
from builder_framework.store.base import Change
from builder_framework.store.sql import SqlStore
from tests.contract.builds import after, build
from tests.sealing import SEALER


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "builder.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{path}", SEALER)
    store.lead("here", None)
    yield store
    store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_who_waits_for_a_lock_reads_meanwhile(
    store: SqlStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder_framework.store.engine.BUSY_PATIENCE", 0.05)
    one = build("a")
    store.apply([Change(one)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    for write in (store.ping, lambda: store.apply([Change(build("b"))])):
        with pytest.raises(StoreUnavailableError, match="locked"):
            write()
    assert store.unfinished() == [one]
    other.execute("ROLLBACK")
    other.close()
    store.apply([Change(build("b"))])
    assert len(store.unfinished()) == 2


_PATCHED = """
import sqlite3, sys
from gevent import monkey
monkey.patch_all()
import gevent
from builder_framework.store.sql import SqlStore
from tests.sealing import SEALER
store, ticks = SqlStore("sqlite:///" + sys.argv[1], SEALER), []
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
def tick():
    for _ in range(20):
        ticks.append(1)
        gevent.sleep(0.05)
    other.execute("ROLLBACK")
gevent.spawn(tick)
store.ping()
print(len(ticks))
other.close()
store.close()
"""


def test_a_lock_does_not_stop_other_greenlets(path: Path) -> None:
    """They do all they have to while a write waits for the lock, which the last of them frees."""
    done = subprocess.run(
        [sys.executable, "-c", _PATCHED, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == 20


def test_a_full_disk_is_told_and_half_of_nothing_is_stored(small_disk: Path) -> None:
    store = SqlStore(f"sqlite:///{small_disk / 'builder.db'}", SEALER)
    store.lead("here", None)
    one = build("a")
    store.apply([Change(one)])
    stuffing = small_disk / "stuffing"
    with pytest.raises(OSError, match="space"):
        stuffing.write_bytes(b"x" * 2**22)
    over = after(one, ev.CancelRequested("ann"))
    many = [Change(build(f"{number:016}")) for number in range(200)]
    with pytest.raises(StoreUnavailableError, match="full"):
        store.apply([Change(over, one), *many])
    assert store.get(one.id) == one
    assert store.unfinished() == [one]
    stuffing.unlink()
    store.apply([Change(over, one), *many])
    assert len(store.unfinished()) == 200
    with store.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    store.close()


def test_a_deleted_file_is_told_and_no_empty_one_made(store: SqlStore, path: Path) -> None:
    one = build("a")
    store.apply([Change(one)])
    away = path.with_name("away.db")
    path.rename(away)
    for call in (store.ping, lambda: store.get(one.id), lambda: store.apply([Change(build("b"))])):
        with pytest.raises(StoreUnavailableError, match="deleted or replaced"):
            call()
    assert not path.exists()
    away.rename(path)
    store.apply([Change(build("b"))])
    assert [each.id for each in store.unfinished()] == [one.id, build("b").id]


def test_another_file_in_its_place_is_not_written_to(store: SqlStore, path: Path) -> None:
    store.apply([Change(build("a"))])
    path.rename(path.with_name("away.db"))
    for rest in path.parent.glob("builder.db-*"):
        rest.unlink()
    other = SqlStore(f"sqlite:///{path}", SEALER)
    with pytest.raises(StoreUnavailableError, match="deleted or replaced"):
        store.ping()
    with pytest.raises(NotFoundError):
        other.get(build("a").id)
    other.close()


def test_a_start_without_the_file_that_has_its_log_of_writes_is_refused(path: Path) -> None:
    path.with_name("builder.db-wal").write_bytes(b"the last commits")
    with pytest.raises(StoreUnavailableError, match="restore a backup"):
        SqlStore(f"sqlite:///{path}", SEALER)
    assert not path.exists()


def test_a_new_database_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")
    for _ in range(2):
        SqlStore(f"sqlite:///{path}", SEALER).close()
    assert [message for message in caplog.messages if str(path) in message] == [
        f"{path} was not there: this is a new, empty database"
    ]


def test_what_is_no_database_is_told(path: Path) -> None:
    path.write_bytes(b"something else" * 1000)
    with pytest.raises(StoreUnavailableError, match="not a database"):
        SqlStore(f"sqlite:///{path}", SEALER)
