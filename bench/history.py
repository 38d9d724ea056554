"""`make bench-history`: lists and searches with a million builds, against a thousand, in one run.

Each case asks both stores in turn, through the API's own code, so that whatever else the machine
does hits both. What counts is the ratio of the 95th percentiles, at most TARGET: of lists and of
searches, all cases together; and of each case with as many builds on the page as the smaller store
has, because a page with fifty builds takes longer than one with three.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask.testing import FlaskClient

from api import create_app
from bench import population
from bench.figures import OUT
from builder_framework.people import People
from builder_framework.ports import RequestPolicy
from builder_framework.redact import Secret
from builder_framework.seal import Sealer
from builder_framework.service.follower import Follower
from builder_framework.service.logs import LogStore
from builder_framework.store import tables as t
from builder_framework.store.search import encode_cursor
from builder_framework.store.sql import SqlStore
from builder_framework.users import SingleUser
from tests.endurance.cluster import percentile
from tests.endurance.failovers import running_postgres

SMALL = 1000
LARGE = 1_000_000
TARGET = 3.0
REQUESTS = 30
"""Of each case, to each store."""

_USER, _PASSWORD = "bench", "of the bench"

Query = Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """What is asked; `of` makes the query from what a store has."""

    name: str
    of: Callable[[History], Query]


@dataclass(frozen=True)
class Row:
    """p95 of both in milliseconds. `shown`: builds on a page."""

    database: str
    case: str
    shown: int | None
    small: float
    large: float
    ratio: float
    holds: bool


@dataclass(frozen=True)
class History:
    """A store with its builds, and what can be asked of it."""

    store: SqlStore
    http: FlaskClient
    count: int
    common: dict[str, Any]

    def ask(self, query: Query) -> tuple[float, int]:
        """Seconds that it takes, and how many builds are on the page."""
        began = time.perf_counter()
        answer = self.http.get("/api/v1/builds", query_string=query, auth=(_USER, _PASSWORD))
        took = time.perf_counter() - began
        if answer.status_code != 200 or answer.json is None:
            raise RuntimeError(answer.text)
        return took, len(answer.json["builds"])

    def cursor(self, share: float) -> str:
        """Of the page after that share of all builds."""
        return encode_cursor(int(self.count * (1 - share)))


def _same(name: str, **query: str) -> Case:
    return Case(name, lambda _: query)


def _and(one: Query | Callable[[History], Query], other: Callable[[History], Query]) -> Any:
    """What asks for both."""
    return lambda h: {**(one(h) if callable(one) else one), **other(h)}


def _cases() -> Iterator[Case]:
    yield _same("newest")
    yield _same("newest, 200 of them", limit="200")
    yield Case("from the middle", lambda h: {"cursor": h.cursor(0.5)})
    yield Case("the oldest", lambda h: {"cursor": h.cursor(0.98)})
    filters: dict[str, Callable[[History], Query]] = {
        "succeeded": lambda _: {"state": "SUCCEEDED"},
        "failed": lambda _: {"state": "FAILED"},
        "waiting": lambda _: {"state": "QUEUED"},
        "failed or cancelled": lambda _: {"state": "FAILED,CANCELLED"},
        "a busy user": lambda _: {"owner": "user3"},
        "a rare user": lambda _: {"owner": "recluse"},
        "no such user": lambda _: {"owner": "nobody"},
        "a busy project": lambda _: {"project": "project7"},
        "a rare project": lambda _: {"project": "attic"},
        "a busy repository": lambda h: {"git_url": h.common["git_url"]},
        "a rare repository": lambda h: {"git_url": h.common["rare_url"]},
        "a moving tag": lambda h: {"image": h.common["moving"]},
        "one tag": lambda h: {"image": h.common["image"]},
        "a common label": lambda h: {"label": f"team:{h.common['team']}"},
        "a rare label": lambda _: {"label": "team:hermits"},
        "no such label": lambda _: {"label": "team:none"},
    }
    searches: dict[str, str] = {
        "a common word": "main",
        "two common words": "main feature",
        "three words": "team app main",
        "many begin so": "a",
        "a person": "dev7",
        "an agent": "node 7",
        "a rare word": "seldom",
        "no such word": "zzzzz",
        "words that never meet": "seldom dev7 node cart login",
    }
    for name, of in filters.items():
        yield Case(name, of)
    for name, text in searches.items():
        yield _same(f"q: {name}", q=text)
    yield Case("q: a commit", lambda h: {"q": h.common["commit"][:7]})
    yield Case("q: a whole digest", lambda h: {"q": h.common["commit"] + "0" * 24})
    pairs = (
        ("failed", "a busy user"),
        ("failed", "a common label"),
        ("succeeded", "a rare user"),
        ("waiting", "a rare user"),
        ("waiting", "a busy repository"),
        ("failed", "a moving tag"),
        ("failed or cancelled", "a busy project"),
        ("a busy user", "a busy project"),
        ("a busy user", "a rare project"),
        ("a rare user", "a common label"),
        ("a rare repository", "a busy user"),
        ("a busy repository", "a common label"),
        ("one tag", "succeeded"),
    )
    for one, other in pairs:
        yield Case(f"{one}, {other}", _and(filters[one], filters[other]))
    for text, other in (
        ("a common word", "failed"),
        ("a common word", "a busy user"),
        ("a common word", "a rare user"),
        ("two common words", "a busy project"),
        ("many begin so", "failed"),
        ("many begin so", "a rare project"),
        ("a rare word", "waiting"),
        ("a person", "a common label"),
        ("no such word", "succeeded"),
    ):
        yield Case(f"q: {text}, {other}", _and({"q": searches[text]}, filters[other]))


CASES = tuple(_cases())


@contextlib.contextmanager
def history(url: str, directory: Path, count: int) -> Iterator[History]:
    """A store with so many builds."""
    sealer = Sealer([os.urandom(32)])
    store = SqlStore(url, sealer)
    try:
        began = time.monotonic()
        for_words = population.fill(store, sealer, count, _say)
        _say(
            f"{count} builds in {time.monotonic() - began:.0f} s, "
            f"{for_words:.0f} s of them for words ({1000 * for_words / count:.2f} ms a build); "
            f"{_size(store, directory) / count:.0f} bytes a build"
        )
        reads = Follower(store, LogStore(directory / "logs"), time.time, lambda *_: (), 0.0)
        people = People(SingleUser(_USER, Secret(_PASSWORD)))
        http = create_app(reads, people, RequestPolicy()).test_client()
        yield History(store, http, count, _common(store))
    finally:
        store.close()


def _common(store: SqlStore) -> dict[str, Any]:
    """Names that a query can have."""
    b = t.builds.c
    with store.reading() as connection:
        middle = sa.select(sa.func.max(b.seq) / 2).scalar_subquery()
        some = sa.select(b.id).where(b.seq >= middle).order_by(b.seq).limit(1)
        one = store.get(str(connection.execute(some).scalar_one()))
        rare = sa.select(b.git_url).where(b.owner == "recluse").limit(1)
        team = sa.select(t.labels.c.value).where(
            t.labels.c.key == "team", t.labels.c.build_id == one.id
        )
        return {
            "git_url": one.request.origin,
            "rare_url": connection.execute(rare).scalar_one(),
            "image": one.request.images[0],
            "moving": one.request.images[1],
            "team": connection.execute(team).scalar_one(),
            "commit": one.result.commit,
        }


def _size(store: SqlStore, directory: Path) -> int:
    """Bytes on disk."""
    if store.dialect == "sqlite":
        return sum(path.stat().st_size for path in directory.glob("*.db*"))
    with store.reading() as connection:
        size = sa.select(sa.func.pg_database_size(sa.func.current_database()))
        return int(connection.execute(size).scalar_one())


def measured(database: str, small: History, large: History) -> Iterator[Row]:
    """Case by case, then lists and searches as a whole."""
    whole: dict[str, tuple[list[float], list[float]]] = {"lists": ([], []), "searches": ([], [])}
    for case in CASES:
        queries = case.of(small), case.of(large)
        _, shown = small.ask(queries[0])
        alike = [{**query, "limit": str(max(1, shown))} for query in queries]
        _, more = large.ask(queries[1])
        took = _in_turn((small, large), alike)
        yield _row(database, case.name, took, shown)
        if shown != more:  # otherwise it was the same question
            took = _in_turn((small, large), queries)
        kind = "searches" if "q" in queries[0] else "lists"
        whole[kind][0].extend(took[0])
        whole[kind][1].extend(took[1])
    for kind, every in whole.items():
        yield _row(database, f"all {kind}", every, None)


def _in_turn(
    stores: tuple[History, History], queries: Sequence[Query]
) -> tuple[list[float], list[float]]:
    """Seconds of each request, caches being warm."""
    took: tuple[list[float], list[float]] = ([], [])
    for number in range(REQUESTS + 2):
        for store, query, into in zip(stores, queries, took, strict=True):
            seconds, _ = store.ask(query)
            if number >= 2:
                into.append(seconds)
    return took


def _row(database: str, name: str, took: tuple[list[float], list[float]], shown: int | None) -> Row:
    low, high = (1000 * percentile(values, 0.95) for values in took)
    row = Row(database, name, shown, low, high, high / low, high / low <= TARGET)
    on_page = "" if shown is None else str(shown)
    _say(f"{database:10} {name:42} {on_page:>4} {low:7.1f} {high:7.1f} ms {row.ratio:6.2f}")
    return row


@contextlib.contextmanager
def both(database: str, count: int) -> Iterator[tuple[History, History]]:
    """Two stores, one with SMALL builds and one with `count`."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_postgres()) if database == "postgresql" else None
        found = []
        for size in (SMALL, count):
            directory = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="builder-history-"))
            )
            url = f"sqlite:///{directory / 'builder.db'}"
            if server is not None:
                url = server.create_database(f"history-{size}")
            found.append(stack.enter_context(history(url, directory, size)))
        yield found[0], found[1]


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    """The exit code: 0 when every case holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--builds", type=int, default=LARGE)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    told = parser.parse_args()
    found: list[Row] = []
    for database in [told.only] if told.only else ["sqlite", "postgresql"]:
        with both(database, told.builds) as (small, large):
            found += measured(database, small, large)
    OUT.mkdir(exist_ok=True)
    report = {"builds": told.builds, "against": SMALL, "cases": [asdict(row) for row in found]}
    (OUT / "history.json").write_text(json.dumps(report, indent=2))
    worst = max(found, key=lambda row: row.ratio)
    missed = sum(not row.holds for row in found)
    _say(
        f"history: builds={told.builds} cases={len(found)} targets_missed={missed} "
        f"worst={worst.ratio:.2f} ({worst.database}, {worst.case})"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
