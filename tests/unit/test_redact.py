"""A secret shows in no form in which programs spell it."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder_framework.redact import Redactor, Secret, mask_url_userinfo

passwords = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=("Cs", "Cc")),
    min_size=8,
    max_size=40,
)


@given(passwords, st.text("abcdefg", max_size=9))
def test_no_spelling_of_a_secret_comes_through(password: str, user: str) -> None:
    redactor = Redactor([Secret(password)])
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    text = f"a {password} b {quote(password, safe='')} c {basic} d {password.encode().hex()} e"
    masked = redactor.text(text)
    assert password not in masked
    assert password.encode().hex() not in masked
    # Of the basic header at most the edges that hang on the user's name are left.
    inner = base64.b64encode(password.encode()).decode().rstrip("=")
    assert inner not in masked
    left = masked.split(" c ")[1].split(" d ")[0]
    assert "***" in left


def test_a_secret_never_prints_itself() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret == Secret("hunter2")
    assert secret != Secret("hunter3")


def test_the_lines_of_a_long_secret_are_masked_one_by_one() -> None:
    key = Secret("-----BEGIN KEY-----\nAAAABBBBCCCC\n-----END KEY-----")
    assert Redactor([key]).text("the log says AAAABBBBCCCC here") == "the log says *** here"


def test_a_secret_within_another_leaves_no_rest() -> None:
    redactor = Redactor([Secret("abcd"), Secret("abcdefgh")])
    assert redactor.text("x abcdefgh y") == "x *** y"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://u:p@h/x", "https://***@h/x"),
        ("fatal: 'ssh://git@h/x'", "fatal: 'ssh://***@h/x'"),
        ("remote:https://u:p@h/x git+https://u@h", "remote:https://***@h/x git+https://***@h"),
        ("mail a@b.org and https://h/x?y=@z", "mail a@b.org and https://h/x?y=@z"),
    ],
)
def test_userinfo_of_urls_is_masked(text: str, masked: str) -> None:
    assert mask_url_userinfo(text) == masked


def test_too_short_a_secret_does_not_garble_the_log() -> None:
    assert Redactor([Secret("a"), Secret("")]).text("banana") == "banana"


def test_a_long_line_without_spaces_is_searched_once() -> None:
    """64 KiB of a minified script took 18 s; in quadratic time this would take hours."""
    assert mask_url_userinfo("x" * 4_000_000 + "://u:p@h").endswith("x://***@h")
