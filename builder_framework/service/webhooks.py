"""Sends what the outbox holds: the leader's only. Builds never wait for any of it.

Each host has one request at a time and a thread for it, so that a slow one holds up nobody else.
A try that was made but could not be recorded is made again with the same id: receivers may hear
twice of one thing, but never not at all.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from builder_framework import __version__, failpoints, logfields
from builder_framework.domain import delivery as dl
from builder_framework.domain import endpoints
from builder_framework.domain.delivery import Delivery, DeliveryState, Try
from builder_framework.domain.targets import Kind
from builder_framework.errors import BuilderError, StoreUnavailableError
from builder_framework.instruments import Instruments
from builder_framework.redact import Secret
from builder_framework.service.post import Poster
from builder_framework.service.receivers import Receivers
from builder_framework.store.base import Outbox

log = logging.getLogger(__name__)

MAX_HOSTS = 64
"""Requests at a time, each to another host."""

_POLL = 1.0
_AFTER_ERROR = 5.0


class Webhooks:
    """The worker. `start` when this process leads, `stop` when it does not any more."""

    def __init__(
        self,
        outbox: Outbox,
        secrets: tuple[Secret, ...],
        poster: Poster,
        receivers: Receivers | None = None,
        clock: Callable[[], float] = time.time,
        instruments: Instruments | None = None,
    ) -> None:
        """`secrets`: every message is signed with each of them; none: no webhooks are sent."""
        self._outbox = outbox
        self._secrets = secrets
        self._poster = poster
        self._receivers = receivers or Receivers()
        self._clock = clock
        self._instruments = instruments or Instruments()
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Begin to send what is due."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing new. Requests at work end by themselves, or are made again later."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=5)

    @property
    def alive(self) -> bool:
        """Whether webhooks are being looked after; when not, this process must end."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._turn()
                except BuilderError as error:
                    log.warning("webhooks have to wait: %s", error)
                    self._stopping.wait(_AFTER_ERROR)
                self._wake.wait(_POLL)
                self._wake.clear()
        except Exception:
            log.exception("webhooks are not sent any more")

    def _turn(self) -> None:
        with self._lock:
            busy = frozenset(self._busy)
        free = MAX_HOSTS - len(busy)
        if free == 0:
            return
        for delivery in self._outbox.due(self._clock(), busy, free):
            with self._lock:
                self._busy.add(delivery.host)
            threading.Thread(
                target=self._deliver,
                args=(delivery,),
                name=f"webhook to {delivery.host}",
                daemon=True,
            ).start()

    def _deliver(self, delivery: Delivery) -> None:
        logfields.begin(build_id=delivery.build_id)
        try:
            if delivery.target and delivery.tries and self._overtaken(delivery):
                return
            failpoints.reach("T15.before")
            made = self._try(delivery)
            failpoints.reach("T15.after")
            after = dl.after_try(delivery, made, random.random())  # noqa: S311 (only jitter)
            _tell(after, made)
            self._instruments.webhook_tries.labels(_outcome(after)).observe(made.seconds)
            self._record(after, made)
        except BuilderError as error:
            log.warning("a try of webhook %s was not recorded: %s", delivery.id, error)
        except Exception:
            log.exception("webhook %s was not sent", delivery.id)
            self._stopping.wait(_AFTER_ERROR)
        finally:
            with self._lock:
                self._busy.discard(delivery.host)
            self._wake.set()

    def _try(self, delivery: Delivery) -> Try:
        at, began = self._clock(), time.monotonic()
        body = delivery.payload.encode()
        receiver = self._receivers.of(delivery)
        if receiver is None:
            gone = f"there is no target {delivery.target!r} any more"
            return Try(at, 0.0, None, gone, final=True)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"builder-framework/{__version__}",
            **receiver.headers,
        }
        if receiver.signed:
            if not self._secrets:
                return Try(at, 0.0, None, "there is no webhook_secret to sign it with")
            headers |= dl.signed_headers(delivery.id, body, at, self._secrets)
        endpoint = endpoints.parse(delivery.url.reveal())
        answer = self._poster.post(endpoint, body, headers, receiver.reach)
        seconds = time.monotonic() - began
        wait = dl.retry_after(answer.retry_after, at + seconds)
        error, final = receiver.judge(answer)
        return Try(at, seconds, answer.status, error, wait, final)

    def _overtaken(self, delivery: Delivery) -> bool:
        """Whether it may be left out: what a chat or a forge is told late must not be older."""
        target = self._receivers.target(delivery)
        if target is None or target.kind is Kind.WEBHOOK:
            return False
        return self._outbox.overtaken(delivery, self._clock())

    def _record(self, delivery: Delivery, made: Try) -> None:
        """Until it is stored: what a receiver has taken is not sent again for the store's sake."""
        while True:
            try:
                self._outbox.record(delivery, made)
                return
            except StoreUnavailableError as error:  # noqa: PERF203 (it waits anyway)
                log.warning("a try of webhook %s has to wait: %s", delivery.id, error)
                if self._stopping.wait(_AFTER_ERROR):
                    raise


def _outcome(delivery: Delivery) -> str:
    if delivery.state is DeliveryState.DELIVERED:
        return "delivered"
    return "given_up" if delivery.next_at is None else "failed"


def _tell(delivery: Delivery, made: Try) -> None:
    """One line for each try. Never the URL: its path is as a rule a password."""
    what = f"{delivery.event} of build {delivery.build_id} to {delivery.host}"
    if delivery.state is DeliveryState.DELIVERED:
        log.info("webhook %s: %s delivered in %.1f s", delivery.id, what, made.seconds)
    elif delivery.next_at is None:
        log.error("webhook %s: %s given up: %s", delivery.id, what, made.error)
    else:
        wait = delivery.next_at - made.at - made.seconds
        log.warning(
            "webhook %s: %s failed: %s; again in %.0f s", delivery.id, what, made.error, wait
        )
