"""Whether a build's memory was used up, as both versions of cgroups tell it."""

from __future__ import annotations

import os
from pathlib import Path

from executor.memory import watch_memory


def test_version_2_counts_kills(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\nhigh 0\nmax 17\noom 3\noom_kill 2\noom_group_kill 0\n")
    with watch_memory(tmp_path) as happened:
        assert not happened()
        events.write_text("low 0\nhigh 0\nmax 99\noom 9\noom_kill 2\noom_group_kill 0\n")
        assert not happened()
        events.write_text("low 0\nhigh 0\nmax 99\noom 9\noom_kill 3\noom_group_kill 0\n")
        assert happened()
    with watch_memory(tmp_path) as happened:
        assert not happened()


def test_version_1_signals_an_eventfd(tmp_path: Path) -> None:
    directory = tmp_path / "memory"
    directory.mkdir()
    (directory / "memory.oom_control").write_text("oom_kill_disable 0\n")
    with watch_memory(tmp_path) as happened:
        handle, control = map(int, (directory / "cgroup.event_control").read_text().split())
        assert Path(f"/proc/self/fd/{control}").readlink() == directory / "memory.oom_control"
        assert not happened()
        os.eventfd_write(handle, 1)
        assert happened()
        assert happened()


def test_without_cgroups_nothing_is_claimed(tmp_path: Path) -> None:
    with watch_memory(tmp_path) as happened:
        assert not happened()
