"""Only who is in the file gets in, and time does not tell who is."""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import argon2
import pytest

from builder_framework import users
from builder_framework.domain.access import Role
from builder_framework.errors import ConfigError, InvalidValueError, NotFoundError
from builder_framework.redact import Secret
from builder_framework.users import SingleUser, UserFile

# The cheapest argon2id: these tests are about the file, one below is about the parameters.
FAST = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Hashing:
    """Runs what should run in a thread pool, and counts it."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, function: Callable[[], bool]) -> bool:
        self.calls += 1
        return function()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users"


def file_at(path: Path, hashing: Hashing | None = None, clock: Clock | None = None) -> UserFile:
    return UserFile(path, run_blocking=hashing or Hashing(), hasher=FAST, clock=clock or Clock())


def test_an_added_user_gets_in(path: Path) -> None:
    """With that password only; the password may be any text."""
    file = file_at(path)
    assert file.add("ann", Secret("pässwörd €:#")) is True
    assert file.verify("ann", "pässwörd €:#")
    for name, password in [("ann", "x"), ("ann", ""), ("bob", "pässwörd €:#"), ("", ""),
                           ("Ann", "pässwörd €:#"), ("ann", "\ud800")]:  # fmt: skip
        assert not file.verify(name, password)


def test_unicode_spellings_of_a_password_are_one(path: Path) -> None:
    """An e with an accent, composed or not (RFC 8265)."""
    file = file_at(path)
    file.add("ann", Secret("caf\u00e9"))
    assert file.verify("ann", "cafe\u0301")
    assert SingleUser("ann", Secret("caf\u00e9")).verify("ann", "cafe\u0301")


def test_adding_again_changes_the_password(path: Path) -> None:
    """At once, although the old one was cached."""
    file = file_at(path)
    file.add("ann", Secret("old"))
    assert file.verify("ann", "old")
    assert file.add("ann", Secret("new")) is False
    assert not file.verify("ann", "old")
    assert file.list() == {"ann": Role.BUILDER}
    assert file.list() == {"ann": Role.BUILDER}


def test_a_removed_user_is_out_at_once(path: Path) -> None:
    """Also from a server that has the user's password cached."""
    server, tool = file_at(path), file_at(path)
    tool.add("ann", Secret("a"))
    tool.add("bob", Secret("b"))
    assert server.verify("ann", "a")
    tool.remove("ann")
    assert not server.verify("ann", "a")
    assert server.verify("bob", "b")
    with pytest.raises(NotFoundError):
        tool.remove("ann")


def test_hashes_are_what_owasp_recommends(path: Path) -> None:
    """argon2id, 19 MiB, two passes, one lane; salted; never the password itself."""
    UserFile(path).add("ann", Secret("password"))
    text = path.read_text()
    assert text.startswith("ann:$argon2id$v=19$m=19456,t=2,p=1$")
    assert "password" not in text
    assert UserFile(path).verify("ann", "password")


def test_the_file_is_private_and_keeps_its_comments(path: Path) -> None:
    """Mode 0600 whatever the umask; what an administrator wrote stays."""
    path.write_text("# who is who\n\n")
    path.chmod(0o640)
    old = os.umask(0)
    try:
        file_at(path).add("ann", Secret("a"))
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("# who is who\n\nann:")
    assert [item.name for item in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["", "-x", "a:b", "a b", "a\n", "ä", "x" * 65, "#a", "a\0"])
def test_names_that_would_break_the_file_are_refused(path: Path, name: str) -> None:
    """By the grammar; nothing is written."""
    with pytest.raises(InvalidValueError):
        file_at(path).add(name, Secret("p"))
    assert not path.exists()


def test_an_empty_password_is_refused(path: Path) -> None:
    """In the file and in the environment."""
    with pytest.raises(InvalidValueError):
        file_at(path).add("ann", Secret(""))
    with pytest.raises(ConfigError) as caught:
        SingleUser("a b", Secret(""))
    assert [item.field for item in caught.value.problems] == ["username", "password"]


def test_unknown_users_cost_a_hash_too(path: Path) -> None:
    """Known or not, right or wrong: one hash, so that time does not tell names."""
    hashing = Hashing()
    file = file_at(path, hashing)
    file.add("ann", Secret("a"))
    for number, (name, password) in enumerate(
        [("ann", "wrong"), ("nobody", "wrong"), ("", ""), ("nobody", "a")], start=1
    ):
        assert not file.verify(name, password)
        assert hashing.calls == number


def test_verified_credentials_need_no_hash_for_a_minute(path: Path) -> None:
    """Right ones only; wrong ones are hashed every time."""
    hashing, clock = Hashing(), Clock()
    file = file_at(path, hashing, clock)
    file.add("ann", Secret("a"))
    for _ in range(3):
        assert file.verify("ann", "a")
    assert hashing.calls == 1
    assert not file.verify("ann", "b")
    assert hashing.calls == 2
    clock.now += users.CACHE_SECONDS + 1
    assert file.verify("ann", "a")
    assert hashing.calls == 3


def test_the_cache_is_bounded_and_knows_no_password(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a core dump of it shows are keyed digests."""
    monkeypatch.setattr(users, "MAX_CACHED", 2)
    file = file_at(path)
    for name in "abcd":
        file.add(name, Secret(f"password-{name}"))
        assert file.verify(name, f"password-{name}")
    assert len(file._cache._expires) == 2
    assert "password" not in repr(vars(file._cache))


def test_a_file_without_users_lets_nobody_in(path: Path) -> None:
    """Missing, empty, or gone while the server runs."""
    file = file_at(path)
    assert not file.verify("ann", "a")
    file.add("ann", Secret("a"))
    assert file.verify("ann", "a")
    path.unlink()
    assert not file.verify("ann", "a")
    file.add("ann", Secret("a"))
    assert file.verify("ann", "a")


def test_a_file_that_others_may_write_is_not_believed(path: Path) -> None:
    """Whoever can write it could add themselves."""
    file = file_at(path)
    file.add("ann", Secret("a"))
    path.chmod(0o620)
    with pytest.raises(ConfigError, match="chmod 600"):
        file.check()
    assert not file.verify("ann", "a")
    path.chmod(0o600)
    os.utime(path)
    assert file.verify("ann", "a")


def test_a_faulty_line_is_named_and_the_others_work(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start all faults at once; while running, nobody else is locked out."""
    file = file_at(path)
    file.add("ann", Secret("a"))
    good = path.read_text()
    path.write_text(f"{good}bob:plaintext\nno line\n{good}")
    with pytest.raises(ConfigError) as caught:
        file.check()
    assert [item.field for item in caught.value.problems] == ["line 2", "line 3", "line 4"]
    with caplog.at_level(logging.ERROR):
        assert file.verify("ann", "a")
    assert not file.verify("bob", "plaintext")
    assert "plaintext" not in caplog.text
    with pytest.raises(ConfigError):
        file.add("eve", Secret("e"))


def test_two_tools_at_once_lose_nobody(path: Path) -> None:
    """Writers take turns."""

    def add(number: int) -> None:
        file_at(path).add(f"user{number}", Secret("x"))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(file_at(path).list()) == [f"user{number}" for number in range(8)]


def test_the_single_user() -> None:
    """One name, one password, nothing else."""
    only = SingleUser("ann", Secret("€"))
    assert only.verify("ann", "€")
    for name, password in [("ann", ""), ("", ""), ("bob", "€"), ("ann", "€€"), ("\ud800", "€")]:
        assert not only.verify(name, password)


def test_roles(path: Path) -> None:
    """A line without one is from before there were any; a new password changes no role."""
    file = file_at(path)
    file.add("ann", Secret("a"))
    file.add("bob", Secret("b"), Role.ADMIN)
    old = path.read_text().splitlines()[0].removesuffix(":builder").replace("ann", "eve")
    with path.open("a") as lines:
        lines.write(f"{old}\n")
    assert file.list() == {"ann": Role.BUILDER, "bob": Role.ADMIN, "eve": Role.OPERATOR}
    assert file.verify("eve", "a") is Role.OPERATOR
    file.add("bob", Secret("c"))
    assert file.verify("bob", "c") is Role.ADMIN
    file.change_role("bob", Role.NONE)
    assert file.verify("bob", "c") is file.role_of("bob") is Role.NONE
    assert file.role_of("nobody") is None
    with pytest.raises(NotFoundError):
        file.change_role("nobody", Role.ADMIN)


def test_a_line_with_a_role_that_is_none_lets_nobody_in(path: Path) -> None:
    file = file_at(path)
    file.add("ann", Secret("a"))
    path.write_text(path.read_text().replace(":builder", ":root"))
    assert file.verify("ann", "a") is None
    with pytest.raises(ConfigError, match="none, viewer, builder, operator, admin"):
        file.list()


def test_the_only_user_may_do_everything() -> None:
    user = SingleUser("ann", Secret("a"))
    assert user.verify("ann", "a") is user.role_of("ann") is Role.ADMIN
    assert user.verify("ann", "b") is user.role_of("bob") is None
