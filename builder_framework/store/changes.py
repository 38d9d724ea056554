"""Writing builds: new ones, and compare-and-set of known ones."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from builder_framework.domain import dedupe
from builder_framework.domain.model import Build
from builder_framework.errors import StaleWriteError
from builder_framework.ports import Idempotency
from builder_framework.seal import Sealer
from builder_framework.store import deliveries, deployments, rows, seals
from builder_framework.store import tables as t
from builder_framework.store.base import Change


def write(connection: sa.Connection, change: Change, sealer: Sealer) -> None:
    """Raises StaleWriteError."""
    if change.previous is None:
        insert(connection, change.build, sealer)
    else:
        _update(connection, change.build, change.previous)
    for key in change.keys:
        bind(connection, change.build, key, sealer)
    deliveries.insert(connection, change.deliveries, sealer)
    if change.deployment is not None:
        deployments.insert(connection, change.deployment)


def bind(connection: sa.Connection, build: Build, key: Idempotency, sealer: Sealer) -> None:
    """From now on the owner's key stands for the build. Raises IntegrityError: it is taken."""
    connection.execute(
        sa.insert(t.idempotency_keys).values(
            owner=build.owner,
            key=key.key,
            fingerprint=sealer.seal(key.fingerprint, seals.of_fingerprint(build.id)),
            build_id=build.id,
        )
    )


def insert(connection: sa.Connection, build: Build, sealer: Sealer) -> None:
    """A build that nobody has stored yet."""
    row = sa.insert(t.builds).values(rows.build_row(build, sealer)).returning(t.builds.c.seq)
    seq = connection.execute(row).scalar_one()
    for image in sorted(set(build.request.images)):
        connection.execute(sa.insert(t.images).values(build_id=build.id, image=image, seq=seq))
    for key, value in build.request.labels.items():
        label = {"build_id": build.id, "key": rows.text(key), "value": rows.text(value)}
        connection.execute(sa.insert(t.labels).values(label))
    if dedupe.applies(build.request):
        _identify(connection, build, sealer)
    for attempt in build.attempts:
        connection.execute(sa.insert(t.attempts).values(rows.attempt_row(build.id, attempt)))


def _identify(connection: sa.Connection, build: Build, sealer: Sealer) -> None:
    """Whoever asks for the same from now on finds this one."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    digest = rows.identity(build.request, sealer)
    query = insert(t.identities).values(owner=build.owner, digest=digest, build_id=build.id)
    connection.execute(
        query.on_conflict_do_update(index_elements=["owner", "digest"], set_={"build_id": build.id})
    )


def _update(connection: sa.Connection, build: Build, previous: Build) -> None:
    result = connection.execute(
        sa.update(t.builds)
        .where(t.builds.c.id == build.id, t.builds.c.version == previous.version)
        .values(rows.changing_row(build))
    )
    if result.rowcount != 1:
        raise StaleWriteError(f"build {build.id} is no longer at version {previous.version}")
    known = {attempt.number: attempt for attempt in previous.attempts}
    for attempt in build.attempts:
        if attempt.number not in known:
            connection.execute(sa.insert(t.attempts).values(rows.attempt_row(build.id, attempt)))
        elif attempt != known[attempt.number]:
            connection.execute(
                sa.update(t.attempts)
                .where(t.attempts.c.build_id == build.id, t.attempts.c.number == attempt.number)
                .values(rows.attempt_row(build.id, attempt))
            )
