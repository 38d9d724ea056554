"""Mirrors spare the way of objects, and nothing else is different for them."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder_framework.protocol import Reason
from builder_framework.recipe import GitSource
from builder_framework.redact import Secret
from devcluster import lfs
from devcluster.config import Credentials
from devcluster.git import LfsFile
from executor import caches, git_command, git_repository, mirrors
from executor.failure import BuildFailure
from executor.mirrors import Mirror
from tests.unit.git_hosts import Host
from tests.unit.git_hosts import check_out as lfs_check_out
from tests.unit.test_executor_git import (
    PASSWORD,
    USER,
    Repository,
    Result,
    check_out,
    git,
    repository,
    server,
)
from tests.unit.waiting import until

__all__ = ["repository", "server"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "volume" / "domain" / "git"


@pytest.fixture
def work(tmp_path: Path, repository: Repository) -> Path:
    """A working copy of a repository of this test's own, which is served from `origin`."""
    origin = tmp_path / "origin.git"
    shutil.copytree(repository.path, origin)
    copy = tmp_path / "work"
    git(tmp_path, "clone", "--quiet", str(origin), str(copy))
    return copy


def push(work: Path, name: str, content: bytes, *options: str) -> str:
    (work / name).write_bytes(content)
    git(work, "add", ".")
    git(work, "commit", "--quiet", "-m", f"adds {name}", *options)
    git(work, "push", "--quiet", "--force", "origin", "HEAD:main")
    return git(work, "rev-parse", "HEAD")


def fetch(tmp_path: Path, root: Path, ref: str | None = None) -> Result:
    source = GitSource(f"file://{tmp_path / 'origin.git'}", ref)
    return check_out(tmp_path, source, ("file",), mirrors=root)


def came(result: Result) -> list[tuple[int, int]]:
    """KiB from the server, of how many, for each fetch in the whole log."""
    found = re.findall(r"(\d+) KiB of (\d+) KiB came from the server", result.log)
    return [(int(new), int(total)) for new, total in found]


@pytest.mark.parametrize(
    "ref", [None, "main", "feature/x", "v1.0", "light", "both", "refs/pull/7/head", "HEAD"]
)
def test_every_ref_gives_what_it_gives_without(
    tmp_path: Path, server: str, root: Path, ref: str | None
) -> None:
    source = GitSource(f"{server}/app.git", ref)
    expected = check_out(tmp_path, source)
    for _ in range(2):
        found = check_out(tmp_path, source, mirrors=root)
        assert (found.checkout, found.content) == (expected.checkout, expected.content)
        assert found.files == expected.files


@pytest.mark.parametrize("name", ["first", "second", "third"])
def test_every_commit_is_found_also_one_that_the_mirror_was_too_shallow_for(
    tmp_path: Path, repository: Repository, root: Path, name: str
) -> None:
    """A file server hands out no commit by itself: everything is looked through."""
    url = f"file://{repository.path}"
    check_out(tmp_path, GitSource(url, "main"), ("file",), mirrors=root)
    source = GitSource(url, repository.commits[name])
    assert check_out(tmp_path, source, ("file",), mirrors=root).content == name


def test_only_what_is_new_moves(tmp_path: Path, root: Path, work: Path) -> None:
    push(work, "large", os.urandom(3 * 1024 * 1024))
    ((first, total),) = came(fetch(tmp_path, root))
    assert first == total > 3000
    push(work, "small", os.urandom(10_000))
    result = fetch(tmp_path, root)
    assert "small" in result.files
    assert "large" in result.files
    assert came(result)[-1][0] < 100
    assert came(fetch(tmp_path, root))[-1][0] == 0


def test_what_the_server_has_no_more_is_not_there(tmp_path: Path, root: Path, work: Path) -> None:
    """A branch that was forced back, and a tag that was deleted."""
    old = git(work, "rev-parse", "HEAD")
    push(work, "file", b"first")
    fetch(tmp_path, root, "light")
    fetch(tmp_path, root)
    git(work, "reset", "--quiet", "--hard", old)
    forced = push(work, "file", b"other")
    assert fetch(tmp_path, root).checkout.commit == forced
    git(work, "push", "--quiet", "origin", ":light")
    with pytest.raises(BuildFailure) as caught:
        fetch(tmp_path, root, "light")
    assert caught.value.reason is Reason.GIT_REF_NOT_FOUND


def test_a_server_that_hands_out_no_single_commits(
    tmp_path: Path, root: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As protocol 0 does: a commit counts if a branch or tag leads to it now."""
    monkeypatch.setattr(git_command, "_CONFIG", (*git_command._CONFIG, "protocol.version=0"))
    old = push(work, "file", b"old")
    removed = push(work, "file", b"a password")
    for wanted in (old, removed, old):
        assert fetch(tmp_path, root, wanted).checkout.commit == wanted
    git(work, "reset", "--quiet", "--hard", old)
    push(work, "file", b"other")
    for _ in range(2):
        assert fetch(tmp_path, root, old).checkout.commit == old
        with pytest.raises(BuildFailure) as caught:
            fetch(tmp_path, root, removed)
        assert caught.value.reason is Reason.GIT_REF_NOT_FOUND


@pytest.mark.parametrize("still_there", [False, True])
def test_a_commits_id_is_worth_nothing_once_the_server_does_not_have_it(
    tmp_path: Path, root: Path, work: Path, still_there: bool
) -> None:
    """What a push was to remove stays removed, though the mirror has it."""
    first = push(work, "file", b"first")
    removed = push(work, "file", b"a password")
    fetch(tmp_path, root, removed)
    fetch(tmp_path, root)
    git(work, "reset", "--quiet", "--hard", first)
    push(work, "file", b"other")
    origin = tmp_path / "origin.git"
    if still_there:
        git(origin, "branch", "keeps-it", removed)
    git(origin, "reflog", "expire", "--expire=now", "--all")
    git(origin, "gc", "--quiet", "--prune=now")
    if still_there:
        assert fetch(tmp_path, root, removed).checkout.commit == removed
        return
    for _ in range(2):
        with pytest.raises(BuildFailure) as caught:
            fetch(tmp_path, root, removed)
        assert caught.value.reason is Reason.GIT_REF_NOT_FOUND


def test_who_may_not_see_it_does_not_get_it_from_the_mirror(
    tmp_path: Path, server: str, repository: Repository, root: Path
) -> None:
    """Not even a commit whose id he knows."""
    url, commit = f"{server}/private.git", repository.commits["third"]
    for ref in ("main", commit):
        check_out(tmp_path, GitSource(url, ref, USER, Secret(PASSWORD)), mirrors=root)
    for login in ({}, {"username": USER, "password": Secret("wrong")}):
        for ref in ("main", commit):
            with pytest.raises(BuildFailure) as caught:
                check_out(tmp_path, GitSource(url, ref, **login), mirrors=root)  # type: ignore[arg-type]
            assert caught.value.reason is Reason.GIT_AUTH_FAILED
    kept = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert PASSWORD.encode() not in kept


@pytest.mark.parametrize(
    "damage", ["truncated", "gone", "no repository", "no HEAD", "empty HEAD", "locked", "shallow"]
)
def test_a_broken_mirror_heals_itself(tmp_path: Path, root: Path, work: Path, damage: str) -> None:
    push(work, "large", os.urandom(1024 * 1024))
    fetch(tmp_path, root)
    (mirror,) = root.glob("*/objects.git")
    objects = [path for path in (mirror / "objects").rglob("*") if path.is_file()]
    if damage == "truncated":
        for path in objects:
            path.chmod(0o600)
            os.truncate(path, path.stat().st_size // 2)
    elif damage == "gone":
        for path in objects:
            path.unlink()
    elif damage == "no repository":
        shutil.rmtree(mirror / "objects")
    elif damage == "no HEAD":
        (mirror / "HEAD").unlink()
    elif damage == "empty HEAD":
        (mirror / "HEAD").write_bytes(b"")
    elif damage == "locked":
        (mirror / "shallow.lock").touch()
        (ref,) = (mirror / "refs" / "builder").iterdir()
        ref.with_name(f"{ref.name}.lock").touch()
    else:
        (mirror / "shallow").write_text("f" * 40 + "\n")
    commit = push(work, "small", b"new")
    # Without it, then into a new one, then with that.
    results = [fetch(tmp_path, root) for _ in range(3)]
    for result in results:
        assert result.checkout.commit == commit
        assert {"large", "small"} <= set(result.files)
    assert came(results[-1])[-1][0] == 0, "it is of use again"
    if damage not in ("truncated", "gone", "shallow"):
        assert "Once more" not in results[-1].log, "told in time"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_what_killed_fetches_had_got_does_not_stay(
    tmp_path: Path, root: Path, work: Path, sent: signal.Signals
) -> None:
    push(work, "small", b"1")
    fetch(tmp_path, root)
    (mirror,) = root.glob("*/objects.git")
    commit = push(work, "large", os.urandom(60_000_000))

    def parts() -> list[Path]:
        return [path for path in mirror.glob("objects/*/tmp_*") if path.stat().st_size > 1_000_000]

    words = ("fetch", "--quiet", "--depth=1", str(tmp_path / "origin.git"), "main")
    killed = subprocess.Popen(["git", "-C", str(mirror), *words], start_new_session=True)
    until(parts, 30.0)
    os.killpg(killed.pid, sent)
    killed.wait()
    assert parts()
    assert fetch(tmp_path, root).checkout.commit == commit
    assert not parts()


@pytest.mark.parametrize("damage", ["garbled", "truncated"])
def test_a_broken_mirror_is_told_from_broken_lfs(tmp_path: Path, root: Path, damage: str) -> None:
    """git writes the files while git-lfs is its filter: what fails then may be the mirror."""
    content = os.urandom(500_000)
    with Host(tmp_path / "host", Credentials(USER, PASSWORD)).serving() as host:
        host.create("app", {"large.bin": LfsFile(b"large"), "big.bin": content})
        source = GitSource(host.url("app"), "main", lfs=True)
        lfs_check_out(tmp_path, source, mirrors=root)
        for path in root.rglob("objects/*/*"):
            if path.is_file() and path.stat().st_size > len(content) // 2:
                path.chmod(0o600)
                half = path.read_bytes()[: path.stat().st_size // 2]
                path.write_bytes(half + bytes(len(half)) * (damage == "garbled"))
        (tmp_path / "build.log").unlink()
        result = lfs_check_out(tmp_path, source, mirrors=root)
        assert (result.files["large.bin"], result.files["big.bin"]) == (b"large", content)
        assert "Once more" in result.log
        (tmp_path / "build.log").unlink()
        assert "Once more" not in lfs_check_out(tmp_path, source, mirrors=root).log


def test_a_mirror_that_cannot_be_made_is_done_without(
    tmp_path: Path, root: Path, work: Path
) -> None:
    """Whatever the file system says."""
    commit = push(work, "file", b"first")
    fetch(tmp_path, root)
    (mirror,) = root.glob("*/objects.git")
    shutil.rmtree(mirror)
    mirror.write_text("a file")
    assert fetch(tmp_path, root).checkout.commit == commit
    shutil.rmtree(root)
    root.write_text("a file")
    assert fetch(tmp_path, root).checkout.commit == commit


def test_a_full_volume_fails_no_clone(
    tmp_path: Path, root: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = push(work, "file", b"first")

    def full(self: Mirror) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Mirror, "_prepare", full)
    assert fetch(tmp_path, root).checkout.commit == commit


def test_a_servers_failure_costs_no_mirror(tmp_path: Path, root: Path) -> None:
    """An object of Git LFS that the server does not have."""
    with Host(tmp_path / "host", Credentials(USER, PASSWORD)).serving() as host:
        host.create("app", {"large.bin": LfsFile(b"large"), "a.txt": "1"})
        source = GitSource(host.url("app"), "main", lfs=True)
        lfs_check_out(tmp_path, source, mirrors=root)
        before = sorted(root.rglob("*"))
        shutil.rmtree(lfs.directory(host.path("app")))
        with pytest.raises(BuildFailure) as caught:
            lfs_check_out(tmp_path, source, mirrors=root)
        assert caught.value.reason is Reason.GIT_LFS_FAILED
        assert sorted(root.rglob("*")) == before


def test_builds_at_once_share_it(tmp_path: Path, root: Path, work: Path) -> None:
    push(work, "large", os.urandom(2 * 1024 * 1024))
    places = [tmp_path / str(number) for number in range(4)]
    for place in places:
        place.mkdir()

    def one(place: Path) -> Result:
        source = GitSource(f"file://{tmp_path / 'origin.git'}", None)
        return check_out(place, source, ("file",), mirrors=root)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(one, places))
    assert {result.checkout.commit for result in results} == {git(work, "rev-parse", "HEAD")}
    moved = sorted(came(result)[-1][0] for result in results)
    assert moved[:3] == [0, 0, 0]


def test_who_waits_too_long_goes_without(
    tmp_path: Path, root: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del work
    monkeypatch.setattr(mirrors, "PATIENCE", 0.2)
    fetch(tmp_path, root)
    (lock,) = root.glob("*/fetching")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = fetch(tmp_path, root)
    assert len(came(result)) == 1, "only the first one used it"
    assert "still fetches" in result.log


def test_a_check_out_keeps_nobody_from_fetching(
    tmp_path: Path, root: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files, and objects of Git LFS, may take minutes; only room is not made of it meanwhile."""
    commit = push(work, "file", b"first")
    both = threading.Barrier(2, timeout=20)
    checks_out = git_repository.Repository.check_out

    def slowly(self: git_repository.Repository, *words: str, reads_lfs: bool = False) -> None:
        both.wait()  # breaks unless both are here at once
        assert caches.make_room(root.parent.parent, low=1.0) == []
        both.wait()
        checks_out(self, *words, reads_lfs=reads_lfs)

    monkeypatch.setattr(git_repository.Repository, "check_out", slowly)
    places = [tmp_path / "1", tmp_path / "2"]
    for place in places:
        place.mkdir()
    source = GitSource(f"file://{tmp_path / 'origin.git'}", None)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda p: check_out(p, source, ("file",), mirrors=root), places))
    assert [result.checkout.commit for result in results] == [commit, commit]
    assert min(new for result in results for new, _ in came(result)) == 0


def test_a_git_directory_that_stays_needs_nothing_else(
    tmp_path: Path, root: Path, repository: Repository
) -> None:
    source = GitSource(f"file://{repository.path}", keep_git_dir=True)
    result = check_out(tmp_path, source, ("file",), mirrors=root)
    assert ".git" in result.files
    assert not root.exists()


def test_mirrors_go_when_the_disk_is_full(tmp_path: Path, root: Path, work: Path) -> None:
    """Unless somebody uses them; and the next build makes them anew."""
    del work
    fetch(tmp_path, root)
    (lock,) = root.glob("*/lock")
    volume = root.parent.parent
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert caches.make_room(volume, low=1.0) == []
    assert caches.make_room(volume, low=1.0) == [lock.parent]
    assert fetch(tmp_path, root).checkout.commit
