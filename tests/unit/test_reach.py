"""Where webhooks that somebody else names may go: to no address that only we can reach."""

from __future__ import annotations

import ipaddress
import itertools
import socket
from collections.abc import Iterator

import pytest

from builder_framework.domain import endpoints
from builder_framework.domain.reach import Reach, parse_network
from builder_framework.errors import InvalidValueError
from builder_framework.service.post import Limits, Poster
from tests.unit.receivers import Receiver, answers, receiving

pytestmark = pytest.mark.domain

INNER = (
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "0.1.2.3",
    "192.0.0.8",
    "192.88.99.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
)
WRAPPED = ("::ffff:{}", "64:ff9b::{}", "::{}")
OTHERS = (
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "100::1",
    "2001:db8::1",
    "2001::1",
    "64:ff9b:1::1",
    "5f00::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "no address",
    "",
)


def forbidden() -> Iterator[str]:
    yield from INNER
    for address, form in itertools.product(INNER, WRAPPED):
        yield form.format(address)
    for address in INNER:
        number = int(ipaddress.IPv4Address(address))
        yield f"2002:{number >> 16:x}:{number & 0xFFFF:x}::"
    yield from OTHERS


@pytest.mark.parametrize("address", list(forbidden()))
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not Reach().allows(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_a_public_one_is_allowed(address: str) -> None:
    assert Reach().allows(address)


def test_the_operators_networks_are_allowed_however_they_are_written() -> None:
    reach = Reach((parse_network("10.1.0.0/16"), parse_network("fd00::/8")))
    assert reach.allows("10.1.2.3")
    assert reach.allows("::ffff:10.1.2.3")
    assert reach.allows("fd00::1")
    assert not reach.allows("10.2.0.1")
    assert not reach.allows("127.0.0.1")


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "ten", "10.0.0.0/33", "*"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(InvalidValueError, match="no network"):
        parse_network(text)


# Everything that getaddrinfo takes for this machine, and names that lead to it.
SPELLINGS = (
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "localhost",
    "LOCALHOST",
)


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_leads_to_this_machine(host: str) -> None:
    """Not a packet arrives at the trap."""
    with receiving(answers("200 OK")) as trap:
        endpoint = endpoints.parse(f"http://{host}:{trap.port}/")
        answer = Poster(Limits()).post(endpoint, b"{}", {}, Reach())
        assert answer.status is None
        assert "not public" in (answer.error or "")
        assert trap.connections == 0
        assert Poster(Limits()).post(endpoint, b"{}", {}).status == 200


def test_a_name_that_changes_its_mind_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that says a public address first, and this machine the next time (rebinding)."""
    asked: list[str] = []

    def rebinding(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        address = "192.0.2.1" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    reach = Reach((parse_network("192.0.2.0/24"),))
    with receiving(answers("200 OK")) as trap:
        endpoint = endpoints.parse(f"http://hooks.example.org:{trap.port}/")
        answer = Poster(Limits(connect=0.2, total=1.0)).post(endpoint, b"{}", {}, reach)
        assert (answer.status, asked) == (None, ["hooks.example.org"])
        assert trap.connections == 0


def test_one_bad_address_among_good_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def several(_: str, port: int, **__: object) -> list[object]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("8.8.8.8", "127.0.0.1")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", several)
    with receiving(answers("200 OK")) as trap:
        answer = Poster().post(endpoints.parse(f"http://a.example:{trap.port}/"), b"", {}, Reach())
    assert "not public" in (answer.error or "")
    assert trap.connections == 0


def test_a_redirection_leads_nowhere() -> None:
    with receiving(answers("200 OK")) as trap:
        moved = answers("302 Found", headers=f"Location: {trap.url}\r\n")
        with receiving(moved) as receiver:
            networks = Reach((parse_network("127.0.0.0/8"),))
            answer = Poster().post(endpoints.parse(receiver.url), b"{}", {}, networks)
        assert answer.error == "answered 302: redirects are not followed"
        assert trap.connections == 0


def test_where_the_operator_allows_it_a_message_arrives() -> None:
    receiver: Receiver
    with receiving(answers("200 OK")) as receiver:
        reach = Reach((parse_network("127.0.0.0/8"),))
        assert Poster().post(endpoints.parse(receiver.url), b"{}", {}, reach).status == 200
