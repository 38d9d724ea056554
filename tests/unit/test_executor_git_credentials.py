"""A login is for its server: scheme, host and port decide, however a URL spells them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from builder_framework.recipe import GitLogin, GitSource
from builder_framework.redact import Secret
from executor.git_credentials import MAX_QUESTIONS, GitCredentials, Origin
from executor.workspace import workspace


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://h/x", ("https", "h", 443)),
        ("https://h:443/x", ("https", "h", 443)),
        ("http://h/x", ("http", "h", 80)),
        ("https://h:8443/x", ("https", "h", 8443)),
        ("ssh://git@h/x", ("ssh", "h", 22)),
        ("ssh://git@H:2222/x", ("ssh", "h", 2222)),
        ("git@h:x/y", ("ssh", "h", 22)),
        ("h:x/y", ("ssh", "h", 22)),
        ("file:///x", ("file", "", 0)),
    ],
)
def test_where_a_url_leads(url: str, origin: tuple[str, str, int]) -> None:
    assert Origin.of(url) == origin


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ssh://git@h/x", "https://h/y", True),
        ("https://h/x", "https://h:443/y", True),
        ("https://h/x", "https://h:8443/y", False),
        ("https://h:8443/x", "https://h:8443/y", True),
        ("https://h/x", "https://g/x", False),
        ("https://h/x", "https://h.evil.example/x", False),
    ],
)
def test_what_is_the_same_server(one: str, other: str, same: bool) -> None:
    assert Origin.of(one).is_same_server(Origin.of(other)) is same


def credentials(tmp_path: Path, *logins: GitLogin, ask: list[str]) -> list[str]:
    """What the askpass script answers to these prompts; nothing when it refuses."""
    source = GitSource("https://own/x", None, "me", Secret("own-password"), logins=logins)
    with workspace(tmp_path, tmp_path) as space:
        env = GitCredentials(source, space).environment(source.url)
        assert not [value for value in env.values() if "password" in value]
        script = Path(env["GIT_ASKPASS"])
        assert "own-password" not in script.read_text()
        return [
            subprocess.run(
                [script, prompt],
                env={**os.environ, **env},
                capture_output=True,
                text=True,
                check=False,
            ).stdout
            for prompt in ask
        ]


def test_logins_without_a_port_are_for_the_standard_ones(tmp_path: Path) -> None:
    """https on 443, and never http."""
    login = GitLogin("other", "you", Secret("others-password"))
    servers = ("https://other", "https://other:443", "http://other", "https://other:8443")
    asked = [f"Password for '{server}': " for server in servers]
    assert credentials(tmp_path, login, ask=asked) == ["others-password"] * 2 + ["", ""]


def test_logins_with_a_port_are_for_that_one(tmp_path: Path) -> None:
    login = GitLogin("other:8080", "you", Secret("others-password"))
    servers = ("http://you@other:8080", "https://you@other:8080", "https://other", "http://other")
    asked = [f'Password for "{server}"' for server in servers]
    assert credentials(tmp_path, login, ask=asked) == ["others-password"] * 2 + ["", ""]


def test_the_repositorys_own_login_goes_first(tmp_path: Path) -> None:
    login = GitLogin("own", "you", Secret("others-password"))
    asked = ["Username for 'https://own': ", "Password for 'https://me@own': "]
    assert credentials(tmp_path, login, ask=asked) == ["me", "own-password"]


def test_a_command_that_never_stops_asking_gets_no_more_answers(tmp_path: Path) -> None:
    """git-lfs asks for ever when the password is wrong."""
    asked = ["Username for 'https://own': "] * (MAX_QUESTIONS + 2)
    assert credentials(tmp_path, ask=asked) == ["me"] * MAX_QUESTIONS + ["", ""]
