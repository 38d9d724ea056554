"""What this process counts as it happens, for Prometheus; from zero at each start, as usual there.

Each process has one of these with a registry of its own; nothing is global. Names, units and what
each one means are told by `docs/metrics.md`, which is made from them. No label holds what people
write: there are as many series as routes, reasons and states.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

_ANSWER = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TURN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Instruments:
    """Counters and histograms of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.http = Histogram(
            "builder_http_request_duration_seconds",
            "Seconds until an answer began, by method, template of the route and status; streams "
            "go on after that.",
            ("method", "route", "status"),
            buckets=_ANSWER,
            registry=self.registry,
        )
        self.logins_failed = Counter(
            "builder_logins_failed",
            "Requests with a wrong password or token.",
            registry=self.registry,
        )
        self.offers_seen = Counter(
            "builder_offers_seen", "Offers that the master made.", registry=self.registry
        )
        self.offers_used = Counter(
            "builder_offers_used", "Offers that builds were launched with.", registry=self.registry
        )
        self.offers_declined = Counter(
            "builder_offers_declined",
            "Offers given back, by why the first build in the queue did not take them; `idle`: "
            "nothing waited; `void`: the subscription ended before they were answered.",
            ("reason",),
            registry=self.registry,
        )
        self.turns = Histogram(
            "builder_loop_turn_duration_seconds",
            "Seconds of one turn of the loop that had something to do, with its transaction.",
            buckets=_TURN,
            registry=self.registry,
        )
        self.webhook_tries = Histogram(
            "builder_webhook_try_duration_seconds",
            "Seconds of one try to deliver a webhook; `given_up`: there will be no other.",
            ("outcome",),
            buckets=_ANSWER,
            registry=self.registry,
        )
        self.log_bytes = Counter(
            "builder_log_bytes",
            "Bytes of builds' logs copied from agents.",
            registry=self.registry,
        )
