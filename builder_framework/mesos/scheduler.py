"""pymesos' callbacks become inputs of the service; nothing else happens here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from builder_framework import failpoints
from builder_framework.cluster import (
    ClusterInput,
    Disconnected,
    ExecutorLost,
    OfferRescinded,
    OffersReceived,
    Subscribed,
)
from builder_framework.mesos import translate
from builder_framework.mesos.offerbook import OfferBook

log = logging.getLogger(__name__)


class BuildScheduler:
    """What the driver calls; `post` hands an input to the service's serial loop."""

    def __init__(
        self,
        post: Callable[[ClusterInput], None],
        offers: OfferBook,
        broken: Callable[[str], None],
    ) -> None:
        self._post = post
        self._offers = offers
        self._broken = broken

    def registered(self, _driver: Any, framework_id: Any, master: Any) -> None:
        """The first subscription of a new framework."""
        log.info("registered as %s with %s:%s", framework_id.value, master.hostname, master.port)
        self._offers.clear()
        self._post(Subscribed(framework_id.value))

    def reregistered(self, driver: Any, master: Any) -> None:
        """Subscribed again, or for the first time with an id from the store."""
        log.info("subscribed as %s to %s:%s", driver.framework_id, master.hostname, master.port)
        self._offers.clear()
        self._post(Subscribed(driver.framework_id))

    def disconnected(self, _driver: Any) -> None:
        """The stream ended; every offer is void."""
        self._offers.clear()
        self._post(Disconnected())

    def resourceOffers(self, _driver: Any, messages: list[Any]) -> None:  # noqa: N802
        """Offers came in."""
        offers = []
        for message in messages:
            offer, raw = translate.offer(message)
            self._offers.add(offer.id, raw)
            offers.append(offer)
        self._post(OffersReceived(tuple(offers)))

    def offerRescinded(self, _driver: Any, offer_id: Any) -> None:  # noqa: N802
        """An offer is void: its agent is gone, or it was held for too long."""
        self._offers.pop([offer_id.value])
        self._post(OfferRescinded(offer_id.value))

    def statusUpdate(self, _driver: Any, message: Any) -> None:  # noqa: N802
        """News of a task; acknowledged by the service once stored."""
        update = translate.status(message)
        failpoints.reach_in(update.state, "T8.before", "T11.before")
        self._post(update)
        failpoints.reach_in(update.state, "T8.after", "T11.after")

    def broken(self, message: str) -> None:
        """The master ended the subscription for good."""
        self._broken(message)

    def processHeartBeat(self, _driver: Any) -> None:  # noqa: N802
        """The driver keeps the time itself."""

    def inverseOffers(self, _driver: Any, _offers: list[Any]) -> None:  # noqa: N802
        """Maintenance is planned: running builds may end, new ones look at `unavailability`."""

    def inverseOfferRescinded(self, _driver: Any, _offer_id: Any) -> None:  # noqa: N802
        """Nothing was held for it."""

    def slaveLost(self, _driver: Any, agent_id: Any) -> None:  # noqa: N802
        """Status updates of its tasks follow."""
        log.warning("agent %s is lost", agent_id.value)

    def executorLost(  # noqa: N802
        self, _driver: Any, executor_id: Any, agent_id: Any, status: Any
    ) -> None:
        """Status updates of its tasks follow."""
        log.info("executor %s on agent %s ended with %s", executor_id.value, agent_id.value, status)
        self._post(ExecutorLost(executor_id.value, agent_id.value))

    def frameworkMessage(  # noqa: N802
        self, _driver: Any, executor_id: Any, agent_id: Any, message: Any
    ) -> None:
        """An executor said something."""
        self._post(translate.executor_message(executor_id, agent_id, message))

    def error(self, _driver: Any, message: Any) -> None:
        """The driver handles ERROR itself."""
        log.error("unexpected error from the driver: %s", message)
