"""`store_url`: an empty database, once SQLite and once PostgreSQL; `opened`: stores on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder_framework.store.sql import SqlStore
from tests.sealing import SEALER

Open = Callable[[], SqlStore]
"""One more process's view of the database."""


def empty_database(kind: str, request: pytest.FixtureRequest) -> str:
    """URL of a new database, `sqlite` or `postgresql`."""
    if kind == "sqlite":
        directory: Path = request.getfixturevalue("tmp_path")
        return f"sqlite:///{directory / 'builder.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    return empty_database(request.param, request)


@pytest.fixture
def opened(store_url: str) -> Iterator[Open]:
    stores: list[SqlStore] = []

    def open_one() -> SqlStore:
        stores.append(SqlStore(store_url, SEALER))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Open) -> SqlStore:
    """The leader's store."""
    store = opened()
    store.lead("here", None)
    return store
