"""Where webhooks may go, how they are signed, and when they are tried again."""

from __future__ import annotations

import base64
from dataclasses import replace
from email.utils import formatdate

import pytest

from builder_framework.domain import endpoints
from builder_framework.domain.delivery import (
    SCHEDULE,
    Delivery,
    DeliveryState,
    Try,
    after_try,
    again,
    overtaken,
    retry_after,
    signed_headers,
    signing_keys,
)
from builder_framework.errors import InvalidValueError
from builder_framework.redact import Secret

pytestmark = pytest.mark.domain

DELIVERY = Delivery(
    "msg_1",
    "b" * 16,
    "build.queued",
    Secret("https://hooks.example.org/t0ken"),
    "{}",
    0.0,
    next_at=0.0,
)
FAILED = Try(at=100.0, seconds=2.0, status=500, error="answered 500")
TAKEN = Try(at=100.0, seconds=2.0, status=204, error=None)


# -- the signature -------------------------------------------------------------------------------


def test_the_signature_is_the_one_of_the_standards_own_libraries() -> None:
    """The vector that the Standard Webhooks libraries test themselves with."""
    secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1614265330.9, [secret]
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_secrets_change_both_sign() -> None:
    old, new = (f"whsec_{base64.b64encode(bytes([n] * 24)).decode()}" for n in (1, 2))
    both = signed_headers("m", b"{}", 1.0, signing_keys(f"{old}, {new}"))["webhook-signature"]
    alone = [
        signed_headers("m", b"{}", 1.0, signing_keys(one))["webhook-signature"]
        for one in (old, new)
    ]
    assert both.split(" ") == alone
    assert alone[0] != alone[1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " , ",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "x whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_not base64!",
        "whsec_ü",
        f"whsec_{base64.b64encode(b'x' * 23).decode()}",
        f"whsec_{base64.b64encode(b'x' * 65).decode()}",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,whsec_",
    ],
)
def test_a_weak_or_garbled_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        signing_keys(text)
    assert "MfKQ" not in caught.value.message


# -- the next try --------------------------------------------------------------------------------


def test_a_receiver_that_stays_away_is_tried_as_scheduled_and_then_given_up() -> None:
    delivery, waits = DELIVERY, []
    for _ in SCHEDULE:
        assert delivery.state is DeliveryState.PENDING
        delivery = after_try(delivery, FAILED, 0.0)
        waits.append(delivery.next_at)
    assert waits[:-1] == [102.0 + wait for wait in SCHEDULE[1:]]
    assert delivery.state is DeliveryState.FAILED
    assert (delivery.next_at, delivery.ended_at, delivery.tries) == (None, 102.0, len(SCHEDULE))


def test_a_delivery_that_was_taken_is_over() -> None:
    after = after_try(after_try(DELIVERY, FAILED, 0.0), TAKEN, 0.0)
    assert (after.state, after.next_at, after.ended_at) == (DeliveryState.DELIVERED, None, 102.0)
    assert after.tries == 2


def test_a_receiver_that_is_gone_for_good_is_not_asked_again() -> None:
    after = after_try(DELIVERY, replace(FAILED, status=410), 0.0)
    assert (after.state, after.next_at) == (DeliveryState.FAILED, None)


@pytest.mark.parametrize(
    ("status", "asked", "wait"),
    [(429, 60.0, 60.0), (503, 60.0, 60.0), (503, 1.0, 5.0), (429, 1e9, 86400.0), (500, 60.0, 5.0)],
)
def test_a_receiver_may_ask_for_time_up_to_a_day(status: int, asked: float, wait: float) -> None:
    after = after_try(DELIVERY, replace(FAILED, status=status, retry_after=asked), 0.0)
    assert after.next_at == 102.0 + wait


def test_waits_are_spread() -> None:
    assert after_try(DELIVERY, FAILED, 1.0).next_at == 102.0 + 6.0


def test_asked_for_again_it_has_the_whole_schedule_before_it() -> None:
    given_up = after_try(DELIVERY, replace(FAILED, status=410), 0.0)
    once_more = again(given_up, 500.0)
    assert (once_more.state, once_more.next_at, once_more.tries) == (
        DeliveryState.PENDING,
        500.0,
        1,
    )
    assert after_try(once_more, FAILED, 0.0).next_at == 102.0 + SCHEDULE[1]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 120 ", 120.0),
        ("9" * 400, 999999999.0),
        ("-1", None),
        ("soon", None),
        ("", None),
        (formatdate(1060, usegmt=True), 60.0),
        ("Thu, 01 Jan 1970 00:17:40 -0000", 60.0),
        (formatdate(10, usegmt=True), 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, 1000.0) == seconds


# -- the endpoint --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "canonical", "shown", "host"),
    [
        (
            "HTTPS://Hooks.Example.ORG/T0ken?x=1",
            "https://hooks.example.org/T0ken?x=1",
            "https://hooks.example.org/***",
            "hooks.example.org:443",
        ),
        ("https://h", "https://h/", "https://h/", "h:443"),
        ("https://h?t=1", "https://h/?t=1", "https://h/***", "h:443"),
        ("https://h:443/", "https://h/", "https://h/", "h:443"),
        (
            "http://10.0.0.1:8080/a%20b",
            "http://10.0.0.1:8080/a%20b",
            "http://10.0.0.1:8080/***",
            "10.0.0.1:8080",
        ),
    ],
)
def test_a_url_and_how_it_is_shown(url: str, canonical: str, shown: str, host: str) -> None:
    endpoint = endpoints.parse(url)
    assert (endpoint.url, endpoint.shown) == (canonical, shown)
    assert replace(DELIVERY, url=Secret(url)).host == host


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.org",
        "ftp://h/",
        "file:///etc/passwd",
        "https://user:t0ken@h/",
        "https://user@h/",
        "https://h/#t0ken",
        "https://h/ t0ken",
        "https://h/\r\nX-Evil: t0ken",
        "https://h/\n",
        "https://h/ü",
        "https://h/%zz",
        "https://h\\@evil/",
        "https://-h/",
        "https://h./",
        "https://[::1]/",
        "https://h:0/",
        "https://h:65536/",
        "https://h:/",
        "https://h/***",
        "https:///t0ken",
        f"https://{'a.' * 127}aa/",
        f"https://h/{'t0ken' * 500}",
    ],
)
def test_what_is_no_plain_http_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        endpoints.parse(url)
    assert "t0ken" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://hooks.example.org/x", ["other", "hooks.example.org"]),
        ("https://HOOKS.example.org:443/x", ["Hooks.Example.Org"]),
        ("https://a.b.example.org/x", ["*.example.org"]),
        ("https://h:8443/x", ["h:8443"]),
        ("http://h/x", ["http://h"]),
        ("http://h:8080/x", ["http://h:8080"]),
        ("https://h/x", ["https://h"]),
    ],
)
def test_hosts_that_the_operator_listed(url: str, hosts: list[str]) -> None:
    assert endpoints.allowed(url, hosts).url == endpoints.parse(url).url


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://h/x", []),
        ("http://h/x", ["h"]),
        ("https://h/x", ["http://h"]),
        ("https://h:8443/x", ["h"]),
        ("https://h/x", ["h:8443"]),
        ("https://example.org/x", ["*.example.org"]),
        ("https://evilexample.org/x", ["*.example.org"]),
        ("https://h.evil/x", ["h"]),
    ],
)
def test_any_other_host_is_refused_with_what_to_do(url: str, hosts: list[str]) -> None:
    with pytest.raises(InvalidValueError, match="webhook_hosts"):
        endpoints.allowed(url, hosts)


@pytest.mark.parametrize("rule", ["", "*", "*.", "h/path", "u@h", "ftp://h", "h:0", "a.*.b", "h h"])
def test_what_is_no_host_is_no_rule(rule: str) -> None:
    with pytest.raises(InvalidValueError):
        endpoints.parse_rule(rule)


def test_what_will_never_be_taken_is_not_tried_again() -> None:
    given_up = after_try(DELIVERY, replace(FAILED, status=404, final=True), 0.0)
    assert (given_up.state, given_up.next_at, given_up.tries) == (DeliveryState.FAILED, None, 1)


def test_what_was_overtaken_is_over_until_somebody_asks() -> None:
    old = overtaken(DELIVERY, 50.0)
    assert (old.state, old.next_at, old.ended_at) == (DeliveryState.OVERTAKEN, None, 50.0)
    assert again(old, 60.0).state is DeliveryState.PENDING
