"""Files of repositories from forges: real servers that speak like theirs, or misbehave."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from builder_framework import forgefiles
from builder_framework.domain.hooks import Forge
from builder_framework.domain.targets import Kind
from builder_framework.errors import ForgeError
from builder_framework.redact import Secret
from tests.unit.receivers import Receiver, receiving

COMMIT = "c0ffee" + "0" * 34
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\nversion: 1\n"
Behave = Callable[[Receiver, socket.socket], None]


def says(raw: bytes) -> Behave:
    def behave(receiver: Receiver, connection: socket.socket) -> None:
        receiver.take(connection)
        connection.sendall(raw)

    return behave


def forge(receiver: Receiver, kind: Kind = Kind.GITLAB) -> Forge:
    root = f"http://127.0.0.1:{receiver.port}/git"
    return Forge("forge", kind, root, (Secret("x" * 16),), "ci", token=Secret("t0ken"))


@pytest.mark.parametrize(
    ("kind", "line", "header", "value"),
    [
        (
            Kind.GITLAB,
            "/git/api/v4/projects/shop%2Fweb/repository/files/.builder.yml/raw",
            "private-token",
            "t0ken",
        ),
        (
            Kind.GITHUB,
            "/git/api/v3/repos/shop/web/contents/.builder.yml",
            "authorization",
            "Bearer t0ken",
        ),
        (Kind.GITEA, "/git/api/v1/repos/shop/web/raw/.builder.yml", "authorization", "token t0ken"),
    ],
)
def test_each_forge_is_asked_as_its_api_has_it(
    kind: Kind, line: str, header: str, value: str
) -> None:
    with receiving(says(ANSWER)) as receiver:
        found = forgefiles.read(forge(receiver, kind), "shop/web", ".builder.yml", COMMIT)
    assert found == "version: 1\n"
    (request,) = receiver.requests
    assert request.line == f"GET {line}?ref={COMMIT} HTTP/1.1"
    assert request.headers[header] == value
    if kind is Kind.GITHUB:
        assert request.headers["accept"] == "application/vnd.github.raw+json"


def test_another_address_of_the_api_and_no_token() -> None:
    with receiving(says(ANSWER)) as receiver:
        api = f"http://127.0.0.1:{receiver.port}/api"
        found = replace(forge(receiver), api=api, token=None, url="https://git.example.org")
        assert forgefiles.read(found, "a/b", ".builder.yml", COMMIT) is not None
    (request,) = receiver.requests
    assert request.line.startswith("GET /api/projects/a%2Fb/")
    assert not {"private-token", "authorization"} & set(request.headers)


def test_githubs_own_api_is_at_a_host_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        raise socket.gaierror("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    own = Forge("hub", Kind.GITHUB, "https://github.com", (Secret("x" * 16),), "ci")
    with pytest.raises(ForgeError):
        forgefiles.read(own, "a/b", ".builder.yml", COMMIT)
    assert asked == ["api.github.com"]


def test_no_file() -> None:
    with receiving(says(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")) as receiver:
        assert forgefiles.read(forge(receiver), "a/b", ".builder.yml", COMMIT) is None


@pytest.mark.parametrize(
    ("raw", "words", "passing"),
    [
        (b"HTTP/1.1 401 x\r\nContent-Length: 0\r\n\r\n", "answers 401", True),
        (b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n", "answers 500", True),
        (
            b"HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            "answers 302",
            True,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe", "is not UTF-8", False),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (64 * 1024 + 1), "is over 64 KiB", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort", "does not give", True),
        (b"nonsense\r\n\r\n", "does not give", True),
        (b"", "does not give", True),
    ],
)
def test_what_is_no_file_is_an_error_with_a_sentence(raw: bytes, words: str, passing: bool) -> None:
    with receiving(says(raw)) as receiver, pytest.raises(ForgeError) as told:
        forgefiles.read(forge(receiver), "a/b", ".builder.yml", COMMIT)
    assert words in told.value.message
    assert told.value.passing is passing
    assert "t0ken" not in told.value.message


def test_a_forge_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgefiles, "_TOTAL", 0.5)

    def drip(receiver: Receiver, connection: socket.socket) -> None:
        receiver.take(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not receiver.over.wait(0.1):
            connection.sendall(b"x" * 20_000)

    with receiving(drip) as receiver, pytest.raises(ForgeError, match=r"in time|over 64"):
        forgefiles.read(forge(receiver), "a/b", ".builder.yml", COMMIT)

    def silence(receiver: Receiver, connection: socket.socket) -> None:
        receiver.take(connection)
        receiver.over.wait(10)

    begin = time.monotonic()
    with receiving(silence) as receiver, pytest.raises(ForgeError, match="in time"):
        forgefiles.read(forge(receiver), "a/b", ".builder.yml", COMMIT)
    assert time.monotonic() - begin < 8
