"""Who is ended when the disk is nearly full, or when a build writes more than it asked for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from builder_framework.protocol import Reason
from executor import disk
from executor.cancel import CancelToken, Stop
from executor.disk import DiskWatch, WatchedBuild, floor_of, say, written_since, wrote_most
from tests.unit.waiting import until

MIB = 1 << 20
GIB = 1 << 30


@dataclass
class FakeEngine:
    data_root: Path | None
    tidied: list[float] = field(default_factory=list)

    def tidy(self) -> None:
        self.tidied.append(time.monotonic())


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "SETTLE", 0.2)


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    return FakeEngine(engine_of(tmp_path, "mine"))


def engine_of(root: Path, domain: str) -> Path:
    path = root / "caches" / domain / "engines" / "0" / "docker"
    path.mkdir(parents=True)
    return path


def build_of(tmp_path: Path, name: str, limit: int = 0) -> WatchedBuild:
    workspace = tmp_path / name
    workspace.mkdir()
    return WatchedBuild(CancelToken(), workspace, limit)


def write(path: Path, mib: int) -> None:
    """At once, for who looks meanwhile."""
    aside = path.parent.parent / f"{path.name}.new"
    aside.write_bytes(os.urandom(mib * MIB))
    aside.rename(path)


def usage(free: Callable[[], int], total: int = 100 * GIB) -> DiskWatch:
    return DiskWatch(0.01, lambda _: (total, total - free(), free()))


@pytest.mark.parametrize(("total", "floor"), [(100 * GIB, 1024 * MIB), (GIB, GIB // 20), (0, 0)])
def test_a_small_disk_has_a_lower_floor(total: int, floor: int) -> None:
    assert floor_of(total, 1024) == floor


def test_what_was_written_since_then_counts(tmp_path: Path) -> None:
    write(tmp_path / "before", 3)
    time.sleep(0.2)
    began = time.time()
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "new", 2)
    os.link(tmp_path / "folder" / "new", tmp_path / "twice")
    os.utime(tmp_path / "folder" / "new", (0, 0))
    assert written_since(tmp_path, began) == 2 * MIB
    assert written_since(tmp_path, 0) == 5 * MIB


def test_nothing_is_written_where_nothing_is(tmp_path: Path) -> None:
    assert written_since(tmp_path / "absent", 0) == 0


def test_the_engine_that_wrote_most_is_the_one(tmp_path: Path) -> None:
    mine, other = (engine_of(tmp_path, name).parent for name in ("mine", "other"))
    root = tmp_path / "caches"
    assert not wrote_most(mine, root, time.time())
    say(mine, 100)
    assert wrote_most(mine, root, time.time())
    say(other, 200)
    assert not wrote_most(mine, root, time.time())
    assert wrote_most(other, root, time.time())
    assert wrote_most(mine, root, time.time() + 60), "the other one is gone"


def test_of_two_that_wrote_the_same_one_ends(tmp_path: Path) -> None:
    folders = [engine_of(tmp_path, name).parent for name in ("mine", "other")]
    for folder in folders:
        say(folder, 100)
    root = tmp_path / "caches"
    assert sum(wrote_most(folder, root, time.time()) for folder in folders) == 1


def test_below_the_floor_the_youngest_build_ends_and_the_other_goes_on(
    tmp_path: Path, engine: FakeEngine
) -> None:
    free = GIB // 2
    watch = usage(lambda: free)
    older, younger = build_of(tmp_path, "a"), build_of(tmp_path, "b")
    assert engine.data_root is not None
    with watch.watching(older, engine, 1024):
        with watch.watching(younger, engine, 1024):
            write(engine.data_root / "layer", 20)
            until(lambda: younger.token.why is Stop.DISK)
            free = 2 * GIB
        until(lambda: engine.tidied)
        time.sleep(0.5)
        assert older.token.why is None
    assert younger.failure is not None
    assert younger.failure.reason is Reason.DISK_FULL
    assert younger.failure.transient, "another agent may have room"
    assert "512 MiB left" in younger.failure.message
    assert "20 MiB" in younger.failure.message


def test_where_that_did_not_help_the_next_one_ends(tmp_path: Path, engine: FakeEngine) -> None:
    watch = usage(lambda: GIB // 2)
    older, younger = build_of(tmp_path, "a"), build_of(tmp_path, "b")
    assert engine.data_root is not None
    with watch.watching(older, engine, 1024):
        with watch.watching(younger, engine, 1024):
            write(engine.data_root / "layer", 20)
            until(lambda: younger.token.why is Stop.DISK)
            assert older.token.why is None
        until(lambda: older.token.why is Stop.DISK)


def test_a_build_that_wrote_little_goes_on_to_the_end(tmp_path: Path, engine: FakeEngine) -> None:
    watch = usage(lambda: 0)
    build = build_of(tmp_path, "a")
    with watch.watching(build, engine, 1024):
        time.sleep(0.3)
    assert build.token.why is None


def test_an_engine_that_wrote_less_than_another_goes_on(tmp_path: Path, engine: FakeEngine) -> None:
    watch = usage(lambda: 0)
    build = build_of(tmp_path, "a")
    say(engine_of(tmp_path, "other").parent, 10 * GIB)
    assert engine.data_root is not None
    with watch.watching(build, engine, 1024):
        write(engine.data_root / "layer", 20)
        time.sleep(0.3)
    assert build.token.why is None


@pytest.mark.parametrize("free", [2 * GIB, 0])
def test_above_the_floor_or_without_one_nobody_ends(
    tmp_path: Path, engine: FakeEngine, free: int
) -> None:
    watch = usage(lambda: free)
    build = build_of(tmp_path, "a")
    assert engine.data_root is not None
    with watch.watching(build, engine, 1024 if free else 0):
        write(engine.data_root / "layer", 20)
        time.sleep(0.3)
    assert build.token.why is None


def test_a_build_ends_when_it_wrote_more_than_it_asked_for(
    tmp_path: Path, engine: FakeEngine
) -> None:
    """In engine and workspace together; what was there before is not its own."""
    assert engine.data_root is not None
    write(engine.data_root / "cached", 10)
    time.sleep(0.2)
    watch = usage(lambda: 10 * GIB)
    build = build_of(tmp_path, "a", 8 * MIB)
    with watch.watching(build, engine, 1024):
        write(engine.data_root / "layer", 5)
        time.sleep(0.3)
        assert build.token.why is None
        write(build.workspace / "archive", 5)
        until(lambda: build.token.why is Stop.DISK)
    assert build.failure is not None
    assert build.failure.reason is Reason.DISK_EXCEEDED
    assert not build.failure.transient, "it would write as much elsewhere"
    assert "wrote 10 MiB" in build.failure.message
    assert "is 8 MiB" in build.failure.message


def test_who_was_stopped_before_is_not_overruled(tmp_path: Path, engine: FakeEngine) -> None:
    build = build_of(tmp_path, "a", MIB)
    build.token.cancel(Stop.KILL)
    assert engine.data_root is not None
    with usage(lambda: GIB).watching(build, engine, 1024):
        write(engine.data_root / "layer", 5)
        time.sleep(0.3)
    assert build.failure is None


@pytest.mark.parametrize("known", [False, True])
def test_an_engine_without_a_directory_is_left_alone(tmp_path: Path, known: bool) -> None:
    build = build_of(tmp_path, "a", 1)
    engine = FakeEngine(tmp_path / "absent" if known else None)
    with usage(lambda: 0).watching(build, engine, 1024):
        time.sleep(0.1)
    assert build.token.why is None


def test_the_watch_begins_anew_after_its_last_build(tmp_path: Path, engine: FakeEngine) -> None:
    watch = usage(lambda: GIB // 2)
    with watch.watching(build_of(tmp_path, "a"), engine, 1024):
        pass
    time.sleep(0.1)
    build = build_of(tmp_path, "b")
    assert engine.data_root is not None
    with watch.watching(build, engine, 1024):
        write(engine.data_root / "layer", 20)
        until(lambda: build.token.why is Stop.DISK)
