"""Those who want builds, and go on asking while everything around them breaks."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tests.chaos.orders import Kind, Order, kinds
from tests.chaos.parts import FrameworkPart, Supervised
from tests.integration.harness import TERMINAL

_POLL = 0.5
_LATEST_CANCEL = 12.0


class Customers:
    """Submits, looks and cancels on a thread of its own; starts again what ended by itself.

    `progress`: how much of the plan is done, 0 to 1; orders are spread over it.
    """

    def __init__(
        self,
        frameworks: Sequence[FrameworkPart],
        supervised: Sequence[Supervised],
        urls: Mapping[Kind, str],
        seed: int,
        builds: int,
        progress: Callable[[], float],
    ) -> None:
        rng = random.Random(seed)  # noqa: S311 (replayed, not secret)
        self._frameworks = frameworks
        self._supervised = supervised
        self._progress = progress
        self.orders = [
            Order(kind, urls[kind], cancel_after=rng.uniform(0, _LATEST_CANCEL))
            for kind in kinds(rng, builds)
        ]
        self._open = list(self.orders)
        self._turn = 0
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._work: Future[None] | None = None

    def start(self) -> None:
        """Begin to ask."""
        self._work = self._pool.submit(self._run)

    def stop(self) -> None:
        """Ask no more; what is under way goes on."""
        self._stopping.set()
        self._pool.shutdown()

    @property
    def waiting(self) -> int:
        """How many orders are not seen to be over. Raises what ended the asking."""
        if self._work is not None and self._work.done():
            self._work.result()
        return len(self._open)

    def _run(self) -> None:
        while not self._stopping.is_set():
            for part in self._supervised:
                part.supervise()
            due = len(self.orders) * self._progress() + 1
            self._turn += 1
            for order in [each for each in self._open if self.orders.index(each) < due]:
                if not self._serve(order):
                    # Whoever is frozen costs one time-out a round, not one for each order.
                    self._turn += 1
            self._open = [order for order in self._open if order.first_end is None]
            self._stopping.wait(_POLL)

    def _serve(self, order: Order) -> bool:
        """One step of one order, at whose turn it is; whether there was an answer."""
        framework = self._frameworks[self._turn % len(self._frameworks)].framework
        now = time.time()
        if order.build_id is None:
            order.submit(framework, now)
            return order.build_id is not None
        build = order.look(framework)
        wanted = order.kind is Kind.CANCELLED and not order.cancel_answered
        over = build is None or build["state"] in TERMINAL
        if wanted and not over and now > order.answered_at + order.cancel_after:
            order.cancel(framework)
            return order.cancel_answered
        return build is not None
