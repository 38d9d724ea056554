"""The life of one webhook: what is sent where, when it is tried again, how it is signed. Pure."""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timezone
from email.utils import parsedate_to_datetime

from builder_framework.domain import endpoints
from builder_framework.errors import InvalidValueError
from builder_framework.redact import Secret

SCHEDULE = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Seconds before each try, counted from the one before: what the Standard Webhooks
specification recommends, "Deliverability and reliability"."""

JITTER = 0.2
"""A wait is longer by up to this part of it, so that tries that failed together part ways."""

MAX_RETRY_AFTER = 86400.0
"""Seconds that a receiver may ask to be left alone."""

MAX_ERROR_LENGTH = 200
"""Characters of a try's error that are kept."""

GONE = 410
_THROTTLED = (429, 503)
# The specification: "between 24 bytes (192 bits) and 64 bytes (512 bits)".
_KEY_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)


class DeliveryState(str, enum.Enum):
    """PENDING: the next try has its time. FAILED: given up, until somebody asks again. OVERTAKEN:
    not sent any more, because something newer was said to the same target since it failed."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    OVERTAKEN = "OVERTAKEN"


@dataclass(frozen=True)
class Delivery:
    """One message to one URL, which is a secret: as a rule its path is a token.

    `id` is the message's: the same in every try. `tries`: how many were made. `failures`: how many
    of them failed since the delivery was asked for last; it decides the next wait. `target`: the
    name of that one of `domain.targets` that it goes to; None: a plain webhook.
    """

    id: str
    build_id: str
    event: str
    url: Secret
    payload: str
    created_at: float
    state: DeliveryState = DeliveryState.PENDING
    next_at: float | None = None
    tries: int = 0
    failures: int = 0
    ended_at: float | None = None
    target: str | None = None

    @property
    def host(self) -> str:
        """Host and port that it goes to; each has one connection at most."""
        endpoint = endpoints.parse(self.url.reveal())
        return f"{endpoint.host}:{endpoint.port}"


@dataclass(frozen=True)
class Try:
    """One request. `status` is None when no answer came; `error` is None when it was taken.

    `retry_after`: seconds that the receiver asked for. `final`: another try would come to the same.
    """

    at: float
    seconds: float
    status: int | None
    error: str | None
    retry_after: float | None = None
    final: bool = False


def after_try(delivery: Delivery, made: Try, jitter: float) -> Delivery:
    """The delivery once a try is over. `jitter`: a random number from 0 to 1."""
    ended = made.at + made.seconds
    tried = replace(delivery, tries=delivery.tries + 1)
    if made.error is None:
        return replace(tried, state=DeliveryState.DELIVERED, next_at=None, ended_at=ended)
    failures = delivery.failures + 1
    if made.final or made.status == GONE or failures >= len(SCHEDULE):
        return replace(
            tried, state=DeliveryState.FAILED, failures=failures, next_at=None, ended_at=ended
        )
    wait = SCHEDULE[failures] * (1.0 + JITTER * jitter)
    if made.status in _THROTTLED and made.retry_after is not None:
        wait = max(wait, min(made.retry_after, MAX_RETRY_AFTER))
    return replace(tried, failures=failures, next_at=ended + wait)


def overtaken(delivery: Delivery, now: float) -> Delivery:
    """The delivery when it is not worth sending any more."""
    return replace(delivery, state=DeliveryState.OVERTAKEN, next_at=None, ended_at=now)


def again(delivery: Delivery, now: float) -> Delivery:
    """The same message once more, at once, with all of the schedule before it."""
    return replace(delivery, state=DeliveryState.PENDING, next_at=now, failures=0, ended_at=None)


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds of a Retry-After header (RFC 9110 §10.2.3), None when it says nothing sensible."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, moment.timestamp() - now)


def signing_keys(text: str) -> tuple[Secret, ...]:
    """The secrets of a setting: `whsec_…`, several with commas. Raises InvalidValueError."""
    secrets = tuple(Secret(part.strip()) for part in text.split(",") if part.strip())
    if not secrets:
        raise InvalidValueError("is empty; give whsec_ and the base64 of 24 to 64 random bytes")
    for secret in secrets:
        _key(secret)
    return secrets


def _key(secret: Secret) -> bytes:
    prefix, mark, encoded = secret.reveal().partition(_KEY_PREFIX)
    if prefix or not mark:
        raise InvalidValueError(f"does not begin with {_KEY_PREFIX}")
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise InvalidValueError(f"has no base64 after {_KEY_PREFIX}") from None
    if len(key) not in _KEY_BYTES:
        raise InvalidValueError("does not hold 24 to 64 bytes, as Standard Webhooks want it")
    return key


def signed_headers(
    message_id: str, body: bytes, at: float, secrets: Sequence[Secret]
) -> dict[str, str]:
    """The three headers of Standard Webhooks; one signature for each secret."""
    timestamp = str(int(at))
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    digests = (hmac.digest(_key(secret), signed, hashlib.sha256) for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{base64.b64encode(d).decode()}" for d in digests),
    }
