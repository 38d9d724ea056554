"""``make notifications``: EVENTS messages to receivers that fail FAILING percent of all requests.

Real store, real worker, real servers; only the clock runs faster, so that waits of hours pass. Some
failures come before a receiver has understood anything, some after it has worked and could not say
so any more: then it hears twice, under the same id. The worker is ended and begun anew meanwhile.
"""

from __future__ import annotations

import argparse
import collections
import logging
import random
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from builder_framework.domain import events as ev
from builder_framework.domain import machine
from builder_framework.domain.announcer import Announcer
from builder_framework.domain.delivery import DeliveryState
from builder_framework.redact import Secret
from builder_framework.service import webhooks as module
from builder_framework.service.post import Limits, Poster
from builder_framework.service.webhooks import Webhooks
from builder_framework.store.base import Change
from builder_framework.store.sql import SqlStore
from tests.sealing import SEALER
from tests.unit.receivers import Receiver
from tests.unit.test_notices import REQUEST
from tests.unit.test_webhooks import SECRET, verified

RECEIVERS = 4
PER_BUILD = 2
"""Queued and finished."""

FASTER = 20_000
"""A day of waiting in some seconds."""


@dataclass
class Unreliable:
    """A receiver that fails at random, before or after it has noted what it heard."""

    failing: float
    seed: int
    heard: collections.Counter[str] = field(default_factory=collections.Counter)
    bodies: dict[str, bytes] = field(default_factory=dict)
    forged: int = 0
    changed: int = 0
    requests: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 (only faults)
        self._lock = threading.Lock()

    def __call__(self, receiver: Receiver, connection: socket.socket) -> None:
        request = receiver.take(connection)
        receiver.requests.clear()
        with self._lock:
            self.requests += 1
            failure = self._random.random() < self.failing
            how = self._random.choice(("refuse", "hang up", "answer lost"))
            if not failure or how == "answer lost":
                name = request.headers["webhook-id"]
                self.heard[name] += 1
                self.forged += not verified(request)
                self.changed += self.bodies.setdefault(name, request.body) != request.body
        if not failure:
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif how == "refuse":
            connection.sendall(b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n")


@dataclass(frozen=True)
class Found:
    """What came of it."""

    events: int
    delivered: int
    lost: int
    twice: int
    forged: int
    changed: int
    requests: int
    seconds: float

    @property
    def fine(self) -> bool:
        """All delivered, none forged, and the same each time."""
        return self.delivered == self.events and not (self.lost or self.forged or self.changed)

    def __str__(self) -> str:
        fields = (f"{name}={value}" for name, value in vars(self).items() if name != "seconds")
        return f"{' '.join(fields)} seconds={self.seconds:.0f}"


def run(events: int, failing: float, seed: int, directory: Path) -> Found:
    """Tell `events` things to receivers that fail, and count what they heard."""
    began = time.monotonic()
    store = SqlStore(f"sqlite:///{directory / 'builder.db'}", SEALER)
    store.lead("notifications", None)
    behaviours = [Unreliable(failing, seed + number) for number in range(RECEIVERS)]
    receivers = [Receiver(behaviour) for behaviour in behaviours]

    def clock() -> float:
        return began + (time.monotonic() - began) * FASTER

    def worker() -> Webhooks:
        made = Webhooks(store.outbox, (SECRET,), Poster(Limits(5.0, 20.0)), clock=clock)
        made.start()
        return made

    try:
        expected = _submit(store, receivers, events)
        working = worker()
        while _open(store):
            time.sleep(2.0)
            # What it was sending is not noted, and is sent again.
            working.stop()
            working = worker()
        working.stop()
        states = collections.Counter(
            view.delivery.state for build in expected for view in store.outbox.of_build(build)
        )
    finally:
        for receiver in receivers:
            receiver.close()
        store.close()
    heard: collections.Counter[str] = collections.Counter()
    for behaviour in behaviours:
        heard.update(behaviour.heard)
    return Found(
        events=events,
        delivered=states[DeliveryState.DELIVERED],
        lost=events - len(heard),
        twice=sum(count > 1 for count in heard.values()),
        forged=sum(each.forged for each in behaviours),
        changed=sum(each.changed for each in behaviours),
        requests=sum(each.requests for each in behaviours),
        seconds=time.monotonic() - began,
    )


def _submit(store: SqlStore, receivers: list[Receiver], events: int) -> list[str]:
    """Builds that were accepted and cancelled, two things to tell each; their ids."""
    policy, ids = machine.MachinePolicy(), []
    for number in range(events // PER_BUILD):
        url = Secret(receivers[number % len(receivers)].url)
        announcer = Announcer((url,))
        request = replace(REQUEST, webhooks=())
        name = f"{number:016d}"
        build = machine.step(None, ev.Submitted(name, request, "ann"), 1.0, policy).build
        over = machine.step(build, ev.CancelRequested("ann"), 2.0, policy).build
        due = announcer.deliveries_of(None, build, 1.0)
        store.apply([Change(build, deliveries=due)])
        store.apply([Change(over, build, deliveries=announcer.deliveries_of(build, over, 2.0))])
        ids.append(name)
    return ids


def _open(store: SqlStore) -> bool:
    return bool(store.outbox.due(float("inf"), (), 1))


def main() -> int:
    """Run it and say what came of it; 1 when anything was lost."""
    parser = argparse.ArgumentParser(prog="notifications", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--failing", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    module._POLL = 0.02
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="builder-notifications-") as directory:
        found = run(options.events, options.failing, options.seed, Path(directory))
    print(found)
    return 0 if found.fine else 1


if __name__ == "__main__":
    sys.exit(main())
