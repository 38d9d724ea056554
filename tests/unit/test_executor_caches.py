"""Who gets which directory of an agent's cache: the warmest, alone, and never another domain's."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from executor import caches
from executor.caches import COLD, CacheKey, Lease, acquire, make_room


class Taker:
    """Takes leases, and gives all of them back."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.taken: list[Lease] = []

    def __call__(self, domain: str = "d", source: str = "s") -> Lease:
        lease = acquire(CacheKey(domain, source), lambda: True, self.root)
        assert lease is not None
        self.taken.append(lease)
        return lease


@pytest.fixture
def take(tmp_path: Path) -> Iterator[Taker]:
    taker = Taker(tmp_path)
    yield taker
    for lease in taker.taken:
        lease.release()


def test_a_domain_has_directories_of_its_own(take: Taker, tmp_path: Path) -> None:
    one, other = take("one"), take("other")
    assert one.data_root == tmp_path / "one" / "engines" / "0" / "docker"
    assert other.data_root == tmp_path / "other" / "engines" / "0" / "docker"


def test_two_never_share_a_directory(take: Taker) -> None:
    leases = [take() for _ in range(3)]
    assert [lease.folder.name for lease in leases] == ["0", "1", "2"]
    leases[1].release()
    assert take().folder.name == "1"


def test_a_source_comes_back_to_where_it_was_built(take: Taker) -> None:
    a, b = take(source="a"), take(source="b")
    a.release()
    b.release()
    again = take(source="a")
    assert again.folder == a.folder
    # Another source gets the one that was used last, for what they may have in common.
    again.release()
    assert take(source="c").folder == a.folder


def test_a_warm_directory_whose_engine_is_stopping_is_waited_for(take: Taker) -> None:
    first = take()
    first.ending()
    threading.Timer(0.3, first.release).start()
    began = time.monotonic()
    assert take().folder == first.folder
    assert time.monotonic() - began >= 0.2


def test_nobody_waits_for_one_that_does_not_stop(
    take: Taker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "ENDING_PATIENCE", 0.2)
    first = take()
    first.ending()
    assert take().folder != first.folder


def test_waiting_ends_with_the_build(tmp_path: Path) -> None:
    assert acquire(CacheKey("d", "s"), lambda: False, tmp_path) is None


def test_a_build_without_a_cache_begins_cold_and_leaves_nothing(tmp_path: Path) -> None:
    leases = [acquire(COLD, lambda: True, tmp_path) for _ in range(2)]
    folders = {lease.folder for lease in leases if lease is not None}
    assert len(folders) == 2
    for lease in leases:
        assert lease is not None
        assert not lease.data_root.exists()
        lease.data_root.mkdir()
        lease.release()
    assert not any(folder.exists() for folder in folders)


def test_what_a_killed_executor_left_goes_with_the_next_build(tmp_path: Path, take: Taker) -> None:
    """However much room there is; what is in use stays, and so does what others left to keep."""
    kept = take()
    left = tmp_path / COLD.domain / "engines" / "left"
    without_privilege = tmp_path / f"{COLD.domain}-rootless" / "engines" / "left"
    half = kept.folder.with_name("gone-1")
    for folder in (left, without_privilege, half):
        (folder / "docker").mkdir(parents=True)
    used = acquire(COLD, lambda: True, tmp_path)
    assert used is not None
    kept.release()
    assert make_room(tmp_path, low=0.0) == []
    assert not any(folder.exists() for folder in (left, without_privilege, half))
    assert used.folder.exists(), "somebody builds there"
    assert kept.folder.exists()
    used.release()


def test_nobody_gets_a_directory_that_is_being_removed(
    take: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock file may be the first to go."""
    lease = take()
    (lease.folder / "docker").mkdir()
    lease.release()
    remove, found = shutil.rmtree, []

    def slowly(path: Path, *, ignore_errors: bool) -> None:
        (path / "lock").unlink()
        found.append(take())
        (found[0].folder / "docker").mkdir()
        (found[0].folder / "docker" / "new").touch()
        remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", slowly)
    make_room(tmp_path, low=1.0)
    assert (found[0].folder / "docker" / "new").exists()


def test_caches_that_last_stay(take: Taker, tmp_path: Path) -> None:
    kept = take()
    kept.data_root.mkdir()
    kept.release()
    cold = acquire(COLD, lambda: True, tmp_path)
    assert cold is not None
    cold.release()
    assert kept.data_root.exists()


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_room_is_made_of_what_is_unused_for_longest(
    take: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Across domains, and never of what is in use."""
    leases = [take(domain) for domain in ("old", "older", "used", "new")]
    for lease, age in zip(leases, (20, 30, 40, 10), strict=True):
        (lease.folder / "docker").mkdir()
        moment = time.time() - age
        os.utime(lease.folder / "sources", (moment, moment))
        if lease.folder.parent.parent.name != "used":
            lease.release()

    def usage(_: Path) -> Usage:
        # Each directory takes a quarter of what there is.
        return Usage(100, 0, 100 - 25 * len(list(tmp_path.glob("*/engines/*/docker"))))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert make_room(tmp_path, low=0.4) == [leases[1].folder, leases[0].folder]
    assert make_room(tmp_path, low=0.4) == []
    assert make_room(tmp_path, low=1.0) == [leases[3].folder]
    assert leases[2].folder.exists()


def test_a_directory_that_was_half_removed_is_a_cold_one(take: Taker) -> None:
    lease = take()
    lease.release()
    for name in ("lock", "sources", "state"):
        (lease.folder / name).unlink()
    assert take().folder == lease.folder


def test_many_at_once_get_one_each(take: Taker) -> None:
    found: list[Lease] = []
    threads = [threading.Thread(target=lambda: found.append(take())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({lease.folder for lease in found}) == 20


def test_what_a_step_printed_of_a_secret_is_not_remembered(take: Taker) -> None:
    lease = take()
    blobs = lease.data_root / "containerd/daemon/io.containerd.content.v1.content/blobs/sha256"
    blobs.mkdir(parents=True)
    contents = {
        "record": b"#7 0.1 s3cret-canary",
        "other": b"#7 0.1 nothing",
        "layer": b"\x1f\x8bs3cret-canary",
        "old": b"s3cret-canary",
    }
    for name, content in contents.items():
        (blobs / name).write_bytes(content)
    os.utime(blobs / "old", (1.0, 1.0))
    assert lease.scrub({b"s3cret-canary", b"another"}) == 1
    assert sorted(path.name for path in blobs.iterdir()) == ["layer", "old", "other"]
    assert lease.scrub(set()) == 0
