"""Mirrors spare the way of objects, and nothing else is different for them."""

from __future__ import annotations

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder_framework.protocol import Reason
from builder_framework.recipe import GitSource
from builder_framework.redact import Secret
from executor import caches, mirrors
from executor.failure import BuildFailure
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


def test_what_the_server_has_no_more_is_not_there(
    tmp_path: Path, root: Path, work: Path
) -> None:
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


@pytest.mark.parametrize("damage", ["truncated", "gone", "no repository", "locked", "shallow"])
def test_a_broken_mirror_heals_itself(
    tmp_path: Path, root: Path, work: Path, damage: str
) -> None:
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
    elif damage == "locked":
        (mirror / "shallow.lock").touch()
    else:
        (mirror / "shallow").write_text("f" * 40 + "\n")
    commit = push(work, "small", b"new")
    for _ in range(3):  # without it, then into a new one, then with that
        result = fetch(tmp_path, root)
        assert result.checkout.commit == commit
        assert {"large", "small"} <= set(result.files)
    assert came(result)[-1][0] == 0, "it is of use again"


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
    (lock,) = root.glob("*/lock")
    with lock.open() as held:
        mirrors.fcntl.flock(held, mirrors.fcntl.LOCK_EX)
        result = fetch(tmp_path, root)
    assert len(came(result)) == 1, "only the first one used it"


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
        mirrors.fcntl.flock(held, mirrors.fcntl.LOCK_EX)
        assert caches.make_room(volume, low=1.0) == []
    assert caches.make_room(volume, low=1.0) == [lock.parent]
    assert fetch(tmp_path, root).checkout.commit
