"""What `/metrics` says: this process' counters, the database, and what only the leader knows."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder

from builder_framework import __version__
from builder_framework.domain import tally
from builder_framework.domain.tally import Tally
from builder_framework.errors import BuilderError
from builder_framework.instruments import Instruments
from builder_framework.service import eremetic_measures
from builder_framework.service.outage import OutageLog
from builder_framework.store.measures import Standing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Figures:
    """What the leader knows.

    `silence`: seconds since the master's last event, None before the first. `subscriptions`: how
    many the driver has had. `executors_busy`, `executors_idle`: executors that live on. `log_lag`:
    seconds since the log that is furthest behind was read to its end, 0 when
    none is followed. `inputs`: what waits for the loop.
    """

    subscribed: bool
    silence: float | None
    subscriptions: int
    executors_busy: int
    executors_idle: int
    logs_followed: int
    log_lag: float
    inputs: int


class Database(Protocol):
    """See `store.measures.SqlMeasures`."""

    def tallies(self) -> list[Tally]: ...

    def standing(self) -> Standing: ...


class Exposition:
    """Everything of one process in Prometheus' format. `figures` is set when this process leads."""

    def __init__(
        self,
        instruments: Instruments,
        database: Database,
        clock: Callable[[], float] = time.time,
        *,
        eremetic: bool = False,
    ) -> None:
        """`eremetic`: what Eremetic's dashboards look for, too."""
        self.registry = instruments.registry
        self._instruments = instruments
        self._eremetic = eremetic
        self._database = database
        self._clock = clock
        self._outage = OutageLog("metrics from the database")
        self.figures: Callable[[], Figures] | None = None
        self.registry.register(self)

    def text(self, accept: str | None) -> tuple[bytes, str]:
        """The answer's body and content type, as the scraper can read it (`Accept`)."""
        encode, content_type = choose_encoder(accept or "")
        return encode(self.registry), content_type

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry shall not ask the database to learn names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """What is not counted here, as it is now."""
        info = GaugeMetricFamily("builder_info", "1, with the version.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        yield GaugeMetricFamily(
            "builder_leader",
            "Whether this process leads; others have no figures of master, executors and logs.",
            value=float(self.figures is not None),
        )
        yield from self._stored()
        if self.figures is not None:
            yield from _leaders(self.figures())

    def _stored(self) -> Iterator[Metric]:
        """Both or nothing: half of it would look like a fall."""
        try:
            tallies, standing = self._database.tallies(), self._database.standing()
        except BuilderError as error:
            self._outage.met(error)
            yield GaugeMetricFamily("builder_store_up", _STORE_UP, value=0)
            return
        self._outage.over()
        yield GaugeMetricFamily("builder_store_up", _STORE_UP, value=1)
        yield from _ended(tallies)
        yield from _standing(standing, self._clock())
        if self._eremetic:
            yield from eremetic_measures.families(tallies, standing, self._delayed())

    def _delayed(self) -> float:
        """Offers that something spoke against."""
        return sum(
            sample.value
            for family in self._instruments.offers_declined.collect()
            for sample in family.samples
            if sample.name.endswith("_total") and sample.labels["reason"] not in ("idle", "void")
        )


class _Nothing:
    """A database in which nothing has happened."""

    def tallies(self) -> list[Tally]:
        return []

    def standing(self) -> Standing:
        return Standing({}, None, 0, None)


def all_families() -> list[Metric]:
    """Every metric of our own that there may be, for the reference and for tests of dashboards."""
    exposition = Exposition(Instruments(), _Nothing())
    exposition.figures = lambda: Figures(
        subscribed=True,
        silence=0.0,
        subscriptions=1,
        executors_busy=0,
        executors_idle=0,
        logs_followed=0,
        log_lag=0.0,
        inputs=0,
    )
    found = [each for each in exposition.registry.collect() if each.name.startswith("builder_")]
    return sorted(found, key=lambda each: each.name)


_STORE_UP = "Whether the database answered; when not, what is read from it is missing here."


def _ended(tallies: Iterable[Tally]) -> Iterator[Metric]:
    counter = CounterMetricFamily(
        "builder_builds_ended",
        "Builds that ended, by state (`succeeded`, `failed`, `cancelled`) and reason; from the "
        "database, the same in every process and over restarts.",
        labels=["state", "reason"],
    )
    duration = _Histogram(
        "builder_build_duration_seconds",
        "Seconds from the acceptance of a build to its end, by outcome; from the database.",
        ["outcome"],
    )
    phase = _Histogram(
        "builder_build_phase_duration_seconds",
        "Seconds of each phase of builds that ended, by outcome; from the database. `queued`: "
        "until the first attempt; `staging`: from launch to start of the last.",
        ["phase", "outcome"],
    )
    deployed = _Histogram(
        "builder_deployment_duration_seconds",
        "Seconds from a build's success to the end of its deployment, by how that ended "
        "(`succeeded`, `rolled_back`, `failed`, `skipped`); from the database.",
        ["outcome"],
    )
    for each in tallies:
        match each.metric:
            case tally.Metric.ENDED:
                counter.add_metric(each.labels, each.count)
            case tally.Metric.DURATION:
                duration.add(each)
            case tally.Metric.PHASE:
                phase.add(each)
            case tally.Metric.DEPLOYED:
                deployed.add(each)
    yield counter
    yield duration.family()
    yield phase.family()
    yield deployed.family()


@dataclass
class _Histogram:
    """Sums by bucket, made into Prometheus' cumulative ones."""

    name: str
    text: str
    labels: list[str]
    _found: dict[tuple[str, ...], list[Tally]] = field(default_factory=lambda: defaultdict(list))

    def add(self, each: Tally) -> None:
        self._found[each.labels].append(each)

    def family(self) -> HistogramMetricFamily:
        made = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        for labels, tallies in sorted(self._found.items()):
            buckets = []
            for bound in (*tally.BUCKETS, float("inf")):
                # What another version had other bounds for is in the next one of ours.
                below = sum(each.count for each in tallies if float(each.bucket) <= bound)
                buckets.append((tally.BEYOND if bound == float("inf") else str(bound), below))
            seconds = sum(each.seconds for each in tallies)
            made.add_metric(labels, buckets, seconds)
        return made


def _standing(standing: Standing, now: float) -> Iterator[Metric]:
    builds = GaugeMetricFamily(
        "builder_builds", "Builds that are not over, by state; from the database.", labels=["state"]
    )
    for state, count in standing.builds.items():
        builds.add_metric([state.value.lower()], count)
    yield builds
    yield GaugeMetricFamily(
        "builder_queue_oldest_age_seconds",
        "Seconds since the longest waiting build was asked for, 0 when none waits.",
        value=_age(standing.queued_since, now),
    )
    yield GaugeMetricFamily(
        "builder_webhooks_pending", "Webhooks that are still to be sent.", value=standing.webhooks
    )
    yield GaugeMetricFamily(
        "builder_webhooks_oldest_age_seconds",
        "Seconds since the oldest of them was made, 0 when there is none.",
        value=_age(standing.webhooks_since, now),
    )


def _age(since: float | None, now: float) -> float:
    return 0.0 if since is None else max(0.0, now - since)


def _leaders(figures: Figures) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "builder_mesos_connected",
        "Whether the master has us subscribed and is not silent for too long.",
        value=float(figures.subscribed),
    )
    if figures.silence is not None:
        yield GaugeMetricFamily(
            "builder_mesos_last_event_age_seconds",
            "Seconds since the master's last event; it has a heartbeat every 15 s.",
            value=figures.silence,
        )
    yield CounterMetricFamily(
        "builder_mesos_subscriptions",
        "Subscriptions since this process leads; each after the first is a reconnect.",
        value=figures.subscriptions,
    )
    executors = GaugeMetricFamily(
        "builder_executors", "Executors that live on between builds, by state.", labels=["state"]
    )
    executors.add_metric(["busy"], figures.executors_busy)
    executors.add_metric(["idle"], figures.executors_idle)
    yield executors
    yield GaugeMetricFamily(
        "builder_logs_followed", "Builds whose log is being copied.", value=figures.logs_followed
    )
    yield GaugeMetricFamily(
        "builder_log_lag_seconds",
        "Seconds since the log that is furthest behind was read to its end; up to 3 are usual.",
        value=figures.log_lag,
    )
    yield GaugeMetricFamily(
        "builder_loop_inputs_waiting",
        "News and wishes that wait for the loop.",
        value=figures.inputs,
    )
