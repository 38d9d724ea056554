"""What operators see of the database: sums over builds that ended, and what is under way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from builder_framework.domain.delivery import DeliveryState
from builder_framework.domain.states import TERMINAL, State
from builder_framework.domain.tally import Metric, Tally, ended
from builder_framework.store import tables as t
from builder_framework.store.base import Change
from builder_framework.store.deliveries import Transaction

_BETWEEN = ","
"""Between the labels of a row; all of them are words of our own."""

_LIVE = [state for state in State if state not in TERMINAL]


@dataclass(frozen=True)
class Standing:
    """What is under way. Moments in seconds since the epoch, None where there is nothing.

    `builds`: how many are in each state that is not final. `queued_since`: when the longest waiting
    one was asked for. `webhooks`: how many are to be sent, the first of them made at
    `webhooks_since`.
    """

    builds: dict[State, int]
    queued_since: float | None
    webhooks: int
    webhooks_since: float | None


def add(connection: sa.Connection, changes: Iterable[Change]) -> None:
    """Count the builds that end with these changes, in the same transaction."""
    count(connection, [each for one in changes for each in ended(one.previous, one.build)])


def count(connection: sa.Connection, tallies: Iterable[Tally]) -> None:
    """Add to the sums, in whatever transaction makes it so."""
    sums: dict[tuple[str, str, str], list[float]] = {}
    for tally in tallies:
        key = tally.metric.value, _BETWEEN.join(tally.labels), tally.bucket
        total = sums.setdefault(key, [0, 0.0])
        total[0] += tally.count
        total[1] += tally.seconds
    if not sums:
        return
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    query = insert(t.tallies)
    more = query.on_conflict_do_update(
        index_elements=["metric", "labels", "bucket"],
        set_={
            "count": t.tallies.c.count + query.excluded.count,
            "seconds": t.tallies.c.seconds + query.excluded.seconds,
        },
    )
    values: list[dict[str, Any]] = [
        {"metric": metric, "labels": labels, "bucket": bucket, "count": int(n), "seconds": seconds}
        for (metric, labels, bucket), (n, seconds) in sorted(sums.items())
    ]
    connection.execute(more, values)


class SqlMeasures:
    """Cheap enough to be asked every few seconds, however long the history is."""

    def __init__(self, reading: Transaction) -> None:
        """`reading`: the store's own transaction."""
        self._reading = reading

    def tallies(self) -> list[Tally]:
        """Every sum. Raises StoreUnavailableError."""
        with self._reading() as connection:
            found = connection.execute(sa.select(t.tallies)).mappings().all()
        return [
            Tally(
                Metric(row["metric"]),
                tuple(row["labels"].split(_BETWEEN)),
                row["bucket"],
                row["count"],
                row["seconds"],
            )
            for row in found
        ]

    def standing(self) -> Standing:
        """What is under way now. Raises StoreUnavailableError."""
        b, d = t.builds.c, t.deliveries.c
        live = b.state.in_([state.value for state in _LIVE])
        by_state = sa.select(b.state, sa.func.count()).where(live).group_by(b.state)
        # The oldest is the first: `seq` counts as builds are accepted, and has an index with state.
        oldest = (
            sa.select(b.created_at).where(b.state == State.QUEUED.value).order_by(b.seq).limit(1)
        )
        pending = sa.select(sa.func.count(), sa.func.min(d.created_at)).where(
            d.state == DeliveryState.PENDING.value
        )
        with self._reading() as connection:
            builds = {State(state): count for state, count in connection.execute(by_state)}
            since = connection.execute(oldest).scalar()
            webhooks, webhooks_since = connection.execute(pending).one()
        counts = {state: builds.get(state, 0) for state in _LIVE}
        return Standing(counts, since, webhooks, webhooks_since)
