"""The metrics of Eremetic (metrics.go of eremetic-framework/eremetic), of builds. Pure.

Dashboards and alerts that were made for Eremetic find them by their names; they say nothing that
our own metrics do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric, UntypedMetricFamily

from builder_framework.domain import tally
from builder_framework.domain.eremetic import end_of
from builder_framework.domain.states import State
from builder_framework.domain.tally import Tally
from builder_framework.protocol import Reason
from builder_framework.store.measures import Standing

_REASONS = {reason.value: reason for reason in Reason}
"""Another version may have counted others."""
_STARTED = tuple(state for state in State if state is not State.QUEUED)


def families(tallies: Iterable[Tally], standing: Standing, delayed: float) -> Iterator[Metric]:
    """`delayed`: offers that the first build of the queue did not take.

    Counters have no type: Prometheus' Python client would give them other names.
    """
    ended: Counter[str] = Counter()
    launched = sum(standing.builds.get(state, 0) for state in _STARTED)
    for each in tallies:
        if each.metric is tally.Metric.ENDED:
            state, reason = each.labels
            ended[end_of(State(state.upper()), _REASONS.get(reason)).value] += each.count
        elif each.metric is tally.Metric.PHASE and each.labels[0] == tally.QUEUED:
            launched += each.count
    created = ended.total() + sum(standing.builds.values())
    yield _counter("created", "Builds that were accepted.", created)
    yield _counter("launched", "Builds that had a task.", launched)
    terminated = UntypedMetricFamily(
        "scheduler_tasks_terminated", "Builds that ended.", labels=["status", "sequence"]
    )
    for status, count in sorted(ended.items()):
        terminated.add_metric([status, "final"], count)
    yield terminated
    yield _counter("delayed", "Offers that did not suit the first build of the queue.", delayed)
    yield GaugeMetricFamily(
        "scheduler_tasks_running",
        "Builds that run.",
        value=standing.builds.get(State.RUNNING, 0),
    )
    yield GaugeMetricFamily(
        "scheduler_queue_size", "Builds that wait.", value=standing.builds.get(State.QUEUED, 0)
    )


def _counter(name: str, text: str, value: float) -> Metric:
    return UntypedMetricFamily(f"scheduler_tasks_{name}", text, value=value)
