"""Cookies of sessions: whose they are, and when they are nobody's."""

from __future__ import annotations

import argon2
import pytest

from api.sessions import LIFETIME, Sessions
from builder_framework.redact import Secret
from builder_framework.users import SingleUser, UserFile

KEY = b"k" * 32


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stamps() -> dict[str, bytes]:
    return {"ann": b"hash of ann", "bob": b"hash of bob"}


@pytest.fixture
def sessions(stamps: dict[str, bytes], clock: Clock) -> Sessions:
    return Sessions(KEY, stamps.get, clock=clock)


def test_it_is_its_users_for_a_working_day(sessions: Sessions, clock: Clock) -> None:
    cookie = sessions.begin("ann")
    assert sessions.user(cookie) == "ann"
    clock.now += LIFETIME - 1
    assert sessions.user(cookie) == "ann"
    clock.now += 1
    assert sessions.user(cookie) is None


def test_every_process_with_the_key_knows_it_and_no_other(
    sessions: Sessions, stamps: dict[str, bytes], clock: Clock
) -> None:
    cookie = sessions.begin("ann")
    assert Sessions(KEY, stamps.get, clock=clock).user(cookie) == "ann"
    assert Sessions(b"x" * 32, stamps.get, clock=clock).user(cookie) is None


def test_a_new_password_ends_it(sessions: Sessions, stamps: dict[str, bytes]) -> None:
    cookie = sessions.begin("ann")
    stamps["ann"] = b"another hash"
    assert sessions.user(cookie) is None
    del stamps["ann"]
    assert sessions.user(cookie) is None


def test_changes_of_it_are_seen(sessions: Sessions) -> None:
    cookie = sessions.begin("ann")
    _, expires, nonce, mac = cookie.split(":")
    others = (
        f"bob:{expires}:{nonce}:{mac}",
        f"ann:{int(expires) + 9}:{nonce}:{mac}",
        f"ann:{expires}:{'0' * 32}:{mac}",
        f"ann:{expires}:{nonce}:{'0' * 64}",
        f"{cookie}\n",
        f"{cookie}:",
        cookie[:-1],
        "",
        ":::",
        "ann:é:x:y",
    )
    assert [sessions.user(other) for other in others] == [None] * len(others)


def test_forms_belong_to_one_session(sessions: Sessions) -> None:
    mine, others = sessions.begin("ann"), sessions.begin("ann")
    assert sessions.fits(mine, sessions.form_token(mine))
    assert not sessions.fits(mine, sessions.form_token(others))
    assert not sessions.fits(mine, "")
    assert not sessions.fits(mine, "é")
    # Who reads the token does not have the session.
    assert sessions.form_token(mine) not in mine


def test_stamps_follow_the_password(tmp_path_factory: pytest.TempPathFactory) -> None:
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    file = UserFile(tmp_path_factory.mktemp("users") / "users", hasher=hasher)
    file.add("ann", Secret("one"))
    before = file.stamp("ann")
    file.add("ann", Secret("two"))
    assert before is not None
    assert file.stamp("ann") not in (None, before)
    assert file.stamp("bob") is None
    single = SingleUser("ann", Secret("one"))
    assert single.stamp("ann") != SingleUser("ann", Secret("two")).stamp("ann")
    assert single.stamp("bob") is None
