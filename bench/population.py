"""A history of many builds, written as the store writes it, but a thousand builds at a time.

Few repositories have most of the builds, most builds succeed, and some things are rare. What builds
have in common is drawn from the same odds whatever their number, so that histories of two sizes
differ in nothing else.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import sqlalchemy as sa

from builder_framework.domain import words
from builder_framework.domain.model import (
    Attempt,
    Build,
    BuildRequest,
    Placement,
    Resources,
    Result,
)
from builder_framework.domain.states import State
from builder_framework.protocol import PushedImage, Reason
from builder_framework.recipe import GitSource, Source
from builder_framework.seal import Sealer
from builder_framework.store import rows
from builder_framework.store import tables as t
from builder_framework.store.sql import SqlStore

REGISTRY = "registry.example.org"
REPOSITORIES = 200
OWNERS = 20
PROJECTS = 15
TEAMS = 10
AGENTS = 40
RARE = 3
"""Builds of the user, project, label and repository that hardly anybody knows; the oldest ones."""

WAITING = 20
_BATCH = 1000
_BEGAN = 1_600_000_000.0
_ENDS = ((0.90, State.SUCCEEDED), (0.97, State.FAILED), (1.0, State.CANCELLED))
_BRANCHES = ("main", "develop", "release/2", "feature/cart", "feature/search", "fix/login")
_REASONS = (Reason.STEP_FAILED, Reason.PUSH_DENIED, Reason.TIMEOUT, Reason.GIT_AUTH_FAILED)


def builds(count: int) -> Iterator[Build]:
    """The oldest first. The last WAITING of them wait."""
    # Not a secret, but the same every time.
    rng = random.Random(count)  # noqa: S311
    for number in range(count):
        yield _build(rng, number, waits=number >= count - WAITING)


def _build(rng: random.Random, number: int, *, waits: bool) -> Build:
    rare = number < RARE
    # Zipf's law, roughly: the first repository has a fifth of all builds.
    repository = "seldom" if rare else f"app{int(REPOSITORIES ** rng.random())}"
    group = f"team{int(hashlib.md5(repository.encode()).hexdigest()[:4], 16) % TEAMS}"  # noqa: S324
    branch = rng.choice(_BRANCHES)
    identity = hashlib.sha256(f"{rng.random()} {number}".encode()).hexdigest()
    created = _BEGAN + 60.0 * number
    image = f"{REGISTRY}/{group}/{repository}"
    request = BuildRequest(
        Source(GitSource(f"https://git.example.org/{group}/{repository}.git", branch)),
        (f"{image}:{number}", f"{image}:{branch.replace('/', '-')}"),
        timeout=3600.0,
        queue_ttl=86400.0,
        resources=Resources(1.0, 2048.0),
        labels={
            "team": "hermits" if rare else group,
            "branch": branch,
            "pushed-by": f"dev{rng.randrange(50)}",
        },
        project="attic" if rare else f"project{rng.randrange(PROJECTS)}",
    )
    owner = "recluse" if rare else f"user{rng.randrange(OWNERS)}"
    build = Build(
        id=identity[:16],
        request=request,
        owner=owner,
        created_at=created,
        state=State.QUEUED,
        state_since=created,
    )
    return build if waits else _ended(rng, build, identity)


def _ended(rng: random.Random, build: Build, identity: str) -> Build:
    odds = rng.random()
    state = next(state for most, state in _ENDS if odds <= most)
    agent = rng.randrange(AGENTS)
    ended = build.created_at + 5.0 + rng.random() * 300
    reason = rng.choice(_REASONS) if state is State.FAILED else None
    place = Placement(
        f"agent-{agent}", f"node-{agent}.example.org", "http://10.0.0.1:5051", 0, "e", "f"
    )
    attempt = Attempt(
        1,
        f"{build.id}.1",
        place,
        placed_at=build.created_at + 1,
        running_at=build.created_at + 2,
        ended_at=ended,
        reason=reason,
    )
    result = Result(commit=identity[:40])
    if state is State.SUCCEEDED:
        digest = f"sha256:{identity}"
        pushed = tuple(PushedImage(image, digest) for image in build.request.images)
        result = replace(result, digest=digest, images=pushed, size=100_000_000)
    return replace(
        build,
        state=state,
        state_since=ended,
        ended_at=ended,
        reason=reason,
        message="RUN make: exit code: 2" if reason else None,
        attempts=(attempt,),
        result=result,
        log_complete=True,
        version=5,
    )


def fill(store: SqlStore, sealer: Sealer, count: int, progress: Callable[[str], None]) -> float:
    """Write so many builds; how many seconds it took to find their words and store those."""
    began = time.monotonic()
    for_words = 0.0
    batch: list[Build] = []
    for number, build in enumerate(builds(count), start=1):
        batch.append(build)
        if len(batch) == _BATCH or number == count:
            for_words += _write(store, sealer, batch, number - len(batch) + 1)
            batch = []
            if number % 50_000 == 0:
                progress(f"{number} builds in {time.monotonic() - began:.0f} s")
    with store.writing() as connection:
        connection.exec_driver_sql("ANALYZE")
    return for_words


def _write(store: SqlStore, sealer: Sealer, batch: list[Build], first: int) -> float:
    numbered = list(enumerate(batch, start=first))
    with store.writing() as connection:
        _insert(
            connection,
            t.builds,
            [{**rows.build_row(build, sealer), "seq": seq} for seq, build in numbered],
        )
        _insert(
            connection,
            t.images,
            [
                {"build_id": build.id, "image": image, "seq": seq}
                for seq, build in numbered
                for image in sorted(set(build.request.images))
            ],
        )
        _insert(
            connection,
            t.labels,
            [
                rows.label_row(build.id, seq, key, value)
                for seq, build in numbered
                for key, value in build.request.labels.items()
            ],
        )
        _insert(
            connection,
            t.attempts,
            [rows.attempt_row(build.id, attempt) for build in batch for attempt in build.attempts],
        )
        began = time.monotonic()
        found = [
            {"word": word, "seq": seq}
            for seq, build in numbered
            for word in sorted(words.of(build))
        ]
        _insert(connection, t.words, found)
        return time.monotonic() - began


def _insert(connection: sa.Connection, table: sa.Table, found: list[dict[str, Any]]) -> None:
    if not found:
        return
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        connection.execute(sa.insert(table), found)
        return
    columns = list(found[0])
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {table.name} ({', '.join(columns)}) FROM STDIN") as copy,
    ):
        for row in found:
            copy.write_row([row[column] for column in columns])
