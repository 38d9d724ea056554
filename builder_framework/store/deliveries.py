"""Webhooks to send: rows written with the change they tell of, and what became of each try."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa

from builder_framework.domain import delivery as dl
from builder_framework.domain.delivery import Delivery, DeliveryState, Try
from builder_framework.errors import NotFoundError, StaleWriteError
from builder_framework.ports import DeliveryView
from builder_framework.redact import Secret
from builder_framework.seal import Sealer
from builder_framework.store import seals
from builder_framework.store import tables as t
from builder_framework.store.seals import Opener

Transaction = Callable[[], AbstractContextManager[sa.Connection]]


def insert(connection: sa.Connection, deliveries: Iterable[Delivery], sealer: Sealer) -> None:
    """New rows, in the transaction of the change that they tell of."""
    if new := [_row(delivery, sealer) for delivery in deliveries]:
        connection.execute(sa.insert(t.deliveries), new)


class SqlOutbox:
    """`Outbox` in the store's database."""

    def __init__(
        self, reading: Transaction, writing: Transaction, leading: Transaction, opener: Opener
    ) -> None:
        """The store's own transactions, with its errors; `leading` with its fencing."""
        self._reading = reading
        self._writing = writing
        self._leading = leading
        self._opener = opener

    def due(self, now: float, busy: Collection[str], limit: int) -> list[Delivery]:
        d = t.deliveries.c
        pending = sa.and_(d.state == DeliveryState.PENDING.value, d.next_at <= now)
        hosts = (
            sa.select(d.host)
            .where(pending, d.host.not_in(busy))
            .group_by(d.host)
            .order_by(sa.func.min(d.next_at))
            .limit(limit)
        )
        found = []
        with self._reading() as connection:
            for host in connection.execute(hosts).scalars().all():
                first = (
                    sa.select(t.deliveries)
                    .where(pending, d.host == host)
                    .order_by(d.next_at, d.seq)
                    .limit(1)
                )
                found.append(_delivery(connection.execute(first).mappings().one(), self._opener))
        return found

    def record(self, delivery: Delivery, made: Try) -> None:
        d = t.deliveries.c
        with self._leading() as connection:
            result = connection.execute(
                sa.update(t.deliveries)
                .where(d.id == delivery.id, d.tries == delivery.tries - 1)
                .values(_changing(delivery))
            )
            if result.rowcount != 1:
                raise StaleWriteError(
                    f"delivery {delivery.id} no longer has {delivery.tries - 1} tries"
                )
            connection.execute(
                sa.insert(t.delivery_tries).values(
                    delivery_id=delivery.id,
                    number=delivery.tries,
                    at=made.at,
                    seconds=made.seconds,
                    status=made.status,
                    error=made.error,
                )
            )

    def overtaken(self, delivery: Delivery, now: float) -> bool:
        d = t.deliveries.c
        same = sa.and_(d.build_id == delivery.build_id, d.target == delivery.target)
        own = sa.select(d.seq).where(d.id == delivery.id).scalar_subquery()
        newer = sa.select(d.seq).where(same, d.seq > own).limit(1)
        with self._leading() as connection:
            if connection.execute(newer).first() is None:
                return False
            connection.execute(
                sa.update(t.deliveries)
                .where(d.id == delivery.id, d.tries == delivery.tries)
                .values(_changing(dl.overtaken(delivery, now)))
            )
        return True

    def of_build(self, build_id: str) -> tuple[DeliveryView, ...]:
        d = t.deliveries.c
        query = sa.select(t.deliveries).where(d.build_id == build_id).order_by(d.seq)
        with self._reading() as connection:
            return _with_tries(connection, query, self._opener)

    def redeliver(self, build_id: str, delivery_id: str, now: float) -> DeliveryView:
        d = t.deliveries.c
        query = sa.select(t.deliveries).where(d.build_id == build_id, d.id == delivery_id)
        with self._writing() as connection:
            # Locked: a try that ends right now must not lose its count.
            found = connection.execute(query.with_for_update()).mappings().first()
            if found is None:
                raise NotFoundError(f"build {build_id} has no delivery {delivery_id!r}")
            connection.execute(
                sa.update(t.deliveries)
                .where(d.id == delivery_id)
                .values(_changing(dl.again(_delivery(found, self._opener), now)))
            )
            (view,) = _with_tries(connection, query, self._opener)
        return view


def _row(delivery: Delivery, sealer: Sealer) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "build_id": delivery.build_id,
        "event": delivery.event,
        "url": sealer.seal(delivery.url.reveal(), seals.of_url(delivery.id)),
        "host": delivery.host,
        "payload": delivery.payload,
        "created_at": delivery.created_at,
        "target": delivery.target,
        **_changing(delivery),
    }


def _changing(delivery: Delivery) -> dict[str, Any]:
    """The columns that tries change."""
    return {
        "state": delivery.state.value,
        "next_at": delivery.next_at,
        "tries": delivery.tries,
        "failures": delivery.failures,
        "ended_at": delivery.ended_at,
    }


def _delivery(row: Mapping[Any, Any], opener: Opener) -> Delivery:
    """The inverse of `_row`. Raises SealError."""
    return Delivery(
        id=row["id"],
        build_id=row["build_id"],
        event=row["event"],
        url=Secret(opener.open(row["url"], seals.of_url(row["id"]))),
        payload=row["payload"],
        created_at=row["created_at"],
        state=DeliveryState(row["state"]),
        next_at=row["next_at"],
        tries=row["tries"],
        failures=row["failures"],
        ended_at=row["ended_at"],
        target=row["target"],
    )


def _with_tries(
    connection: sa.Connection, query: sa.Select[Any], opener: Opener
) -> tuple[DeliveryView, ...]:
    deliveries = [_delivery(row, opener) for row in connection.execute(query).mappings()]
    tries: dict[str, list[Try]] = {delivery.id: [] for delivery in deliveries}
    made = t.delivery_tries
    for row in connection.execute(
        sa.select(made)
        .where(made.c.delivery_id.in_(list(tries)))
        .order_by(made.c.delivery_id, made.c.number)
    ).mappings():
        tries[row["delivery_id"]].append(
            Try(row["at"], row["seconds"], row["status"], row["error"])
        )
    return tuple(DeliveryView(one, tuple(tries[one.id])) for one in deliveries)
