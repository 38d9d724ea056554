"""Writing builds: new ones, and compare-and-set of known ones."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from builder_framework.domain import dedupe, words
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
        connection.execute(sa.insert(t.labels).values(rows.label_row(build.id, seq, key, value)))
    _add_words(connection, seq, words.of(build))
    if dedupe.applies(build.request):
        _identify(connection, build, sealer)
    for attempt in build.attempts:
        connection.execute(sa.insert(t.attempts).values(rows.attempt_row(build.id, attempt)))


def _add_words(connection: sa.Connection, seq: int, found: frozenset[str]) -> None:
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    if found:
        new = [{"word": word, "seq": seq} for word in sorted(found)]
        connection.execute(insert(t.words).on_conflict_do_nothing(), new)


def forget_words(connection: sa.Connection, builds: Sequence[tuple[int, Build]]) -> None:
    """(seq, build) of those that go."""
    gone = [{"_word": word, "_seq": seq} for seq, build in builds for word in words.of(build)]
    if gone:
        w = t.words.c
        connection.execute(
            sa.delete(t.words).where(
                w.word == sa.bindparam("_word"), w.seq == sa.bindparam("_seq")
            ),
            gone,
        )


def _change_words(connection: sa.Connection, build: Build, previous: Build) -> None:
    """What it learned, as a rule; what it was wrong about, such as the commit of an attempt."""
    if words.learned(build) == words.learned(previous):
        return
    seq = connection.execute(
        sa.select(t.builds.c.seq).where(t.builds.c.id == build.id)
    ).scalar_one()
    before, after = words.of(previous), words.of(build)
    _add_words(connection, seq, after - before)
    if gone := before - after:
        connection.execute(
            sa.delete(t.words).where(t.words.c.seq == seq, t.words.c.word.in_(sorted(gone)))
        )


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
    _change_words(connection, build, previous)
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
