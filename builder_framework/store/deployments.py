"""Images on their way into apps: rows written with the success of a build, and how far they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from builder_framework.domain import tally
from builder_framework.domain.delivery import Delivery
from builder_framework.domain.deployment import (
    CAME_TO_NOTHING,
    GOING_ON,
    Deployment,
    DeploymentState,
)
from builder_framework.errors import StaleWriteError
from builder_framework.seal import Sealer
from builder_framework.store import deliveries as outbox
from builder_framework.store import measures, rows, seals
from builder_framework.store import tables as t

Transaction = Callable[[], AbstractContextManager[sa.Connection]]

_GOING_ON = [state.value for state in GOING_ON]
_CAME_TO_NOTHING = [state.value for state in CAME_TO_NOTHING]


def insert(connection: sa.Connection, deployment: Deployment) -> None:
    """A new row, in the transaction of the build's success: its key refuses a second one."""
    connection.execute(sa.insert(t.deployments).values(_row(deployment)))


class SqlDeployments:
    """`Deployments` in the store's database."""

    def __init__(self, reading: Transaction, leading: Transaction, sealer: Sealer) -> None:
        """The store's own transactions, with its errors; `leading` with its fencing."""
        self._reading = reading
        self._leading = leading
        self._sealer = sealer

    def going_on(self) -> list[tuple[Deployment, str | None]]:
        d, b = t.deployments.c, t.builds.c
        query = (
            sa.select(t.deployments, b.seq)
            .join(t.builds, b.id == d.build_id)
            .where(d.state.in_(_GOING_ON))
            .order_by(d.state == DeploymentState.WAITING.value, b.seq)
        )
        with self._reading() as connection:
            first: dict[str, sa.RowMapping] = {}
            for row in connection.execute(query).mappings():
                first.setdefault(row["app"], row)
            return [(_deployment(row), _later(connection, row)) for row in first.values()]

    def record(self, deployment: Deployment, deliveries: Sequence[Delivery] = ()) -> Deployment:
        d = t.deployments.c
        following = replace(deployment, version=deployment.version + 1)
        with self._leading() as connection:
            result = connection.execute(
                sa.update(t.deployments)
                .where(d.build_id == deployment.build_id, d.version == deployment.version)
                .values(_row(following))
            )
            if result.rowcount != 1:
                raise StaleWriteError(
                    f"the deployment of build {deployment.build_id} is no longer at version "
                    f"{deployment.version}"
                )
            if not following.going_on:
                measures.count(connection, [tally.deployed(following)])
            outbox.insert(connection, deliveries, seals.current(connection, self._sealer))
        return following

    def of_build(self, build_id: str) -> Deployment | None:
        query = sa.select(t.deployments).where(t.deployments.c.build_id == build_id)
        with self._reading() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _deployment(row)


def _later(connection: sa.Connection, row: sa.RowMapping) -> str | None:
    d, b = t.deployments.c, t.builds.c
    query = (
        sa.select(d.build_id)
        .join(t.builds, b.id == d.build_id)
        .where(d.app == row["app"], b.seq > row["seq"], d.state.not_in(_CAME_TO_NOTHING))
        .order_by(b.seq.desc())
        .limit(1)
    )
    found: str | None = connection.execute(query).scalar()
    return found


def _row(deployment: Deployment) -> dict[str, Any]:
    fields = dataclasses.asdict(deployment)
    message = deployment.message
    # What Marathon said may hold what no database takes.
    return {**fields, "state": deployment.state.value, "message": message and rows.text(message)}


def _deployment(row: Mapping[Any, Any]) -> Deployment:
    """The inverse of `_row`."""
    fields = {field.name: row[field.name] for field in dataclasses.fields(Deployment)}
    return Deployment(**{**fields, "state": DeploymentState(row["state"])})
