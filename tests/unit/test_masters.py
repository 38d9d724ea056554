"""Which master is asked, how often, and what addresses may look like."""

from __future__ import annotations

import re

import pytest

from builder_framework import addresses
from builder_framework.addresses import Address, ZooKeeperAddress
from builder_framework.errors import InvalidValueError
from builder_framework.mesos.masters import Masters, backoff, redirection

ONE, TWO, THREE = Address("m1", 5050), Address("m2", 5050), Address("m3", 5050)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1:5050", (Address("10.0.0.1", 5050),)),
        ("m1:5050,m2:5050", (ONE, TWO)),
        (" m1:5050 , m2:5050,m1:5050", (ONE, TWO)),
        ("[::1]:5050", (Address("::1", 5050),)),
        ("[fe80::1%eth0]:1", (Address("fe80::1%eth0", 1),)),
        ("master.mesos.:5050", (Address("master.mesos.", 5050),)),
        ("zk://zk1:2181/mesos", ZooKeeperAddress("zk1:2181", "/mesos")),
        ("zk://zk1:2181,[::1]:2182/a/b/", ZooKeeperAddress("zk1:2181,[::1]:2182", "/a/b")),
        ("zk://u:p%40:s@zk1:2181/m", ZooKeeperAddress("zk1:2181", "/m", "u:p@:s")),
    ],
)
def test_addresses_as_people_write_them(text: str, expected: addresses.MasterSource) -> None:
    assert addresses.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "host:port"),
        ("m1", "host:port"),
        ("m1:", "host:port"),
        ("m1:0", "host:port"),
        ("m1:65536", "host:port"),
        ("m1:5050,", "host:port"),
        ("m1:٣", "host:port"),
        ("::1:5050", "brackets"),
        ("[m1]:5050", "IPv6"),
        ("[10.0.0.1]:5050", "IPv6"),
        ("user:hunter2@m1:5050", "brackets"),
        ("hunter2@m1:5050", "host name"),
        ("-m1:5050", "host name"),
        ("https://m1:5050", "mesos_tls"),
        ("zk://zk1:2181", "path"),
        ("zk://zk1:2181/", "path"),
        ("zk://zk1/mesos", "host:port"),
        ("zk://hunter2@zk1:2181/mesos", "password"),
        ("zk://:hunter2@zk1:2181/mesos", "password"),
    ],
)
def test_what_is_no_address_is_told_without_showing_it(text: str, told: str) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(told)) as caught:
        addresses.parse(text)
    assert "hunter2" not in caught.value.message


def test_addresses_are_logged_without_passwords() -> None:
    assert addresses.shown("zk://u:hunter2@zk1:2181,zk2:2181/m") == "zk://zk1:2181,zk2:2181/m"
    assert addresses.shown("m1:5050,[::1]:5050") == "m1:5050,[::1]:5050"


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("//m2:5050/api/v1/scheduler", TWO),
        ("http://m2:5050/api/v1/scheduler", TWO),
        ("//[::1]:5051/x", Address("::1", 5051)),
        ("//m2", TWO),
        ("//m2:port/x", None),
        ("/api/v1/scheduler", None),
        ("//[::1/x", None),
        ("", None),
        (None, None),
    ],
)
def test_the_leader_that_a_redirection_names(location: str | None, expected: Address) -> None:
    assert redirection(location) == expected


def test_masters_are_asked_in_turn() -> None:
    masters = Masters([ONE, TWO, THREE])
    asked = []
    for _ in range(4):
        asked.append(masters.next())
        masters.failed()
    assert asked == [ONE, TWO, THREE, ONE]


def test_a_hint_is_followed_until_it_fails() -> None:
    masters = Masters([ONE, TWO])
    assert masters.redirected(THREE)
    assert masters.next() == THREE
    masters.subscribed()
    assert masters.next() == THREE
    masters.failed()
    assert masters.next() == ONE


def test_a_redirection_to_itself_is_a_failure() -> None:
    masters = Masters([ONE, TWO])
    assert not masters.redirected(ONE)
    assert masters.next() == TWO


def test_redirections_in_a_circle_come_to_an_end() -> None:
    masters = Masters([ONE])
    followed = 0
    while masters.redirected(TWO if masters.next() == ONE else ONE):
        followed += 1
    assert followed == 3


def test_a_detected_leader_is_the_only_one_until_the_next() -> None:
    masters = Masters([])
    assert masters.next() is None
    masters.leads(ONE)
    masters.redirected(TWO)
    masters.leads(THREE)
    masters.failed()
    assert masters.next() == THREE
    masters.leads(None)
    assert masters.next() is None


def test_a_master_that_is_not_ready_gets_ten_subscribes_in_its_first_minute() -> None:
    for _ in range(200):
        at, tries = 0.0, 0
        while at < 60:
            tries += 1
            at += backoff(tries)
        assert 6 <= tries <= 10


def test_waits_grow_to_a_quarter_of_a_minute_and_differ() -> None:
    assert all(11.25 <= backoff(failures) <= 15 for failures in (6, 7, 100, 10**6))
    assert len({backoff(3) for _ in range(10)}) > 1
