"""What every store of logs promises: files, and rows in both databases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder_framework.errors import LeadershipLostError
from builder_framework.service.logs import Logs, LogStore
from builder_framework.store.base import Change
from builder_framework.store.logs import DatabaseLogs
from builder_framework.store.sql import SqlStore
from tests.contract.builds import build
from tests.contract.conftest import Open, empty_database
from tests.sealing import SEALER

ID = build("a").id
OTHER = build("b").id


@pytest.fixture(params=["files", "sqlite", "postgresql"])
def logs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Logs]:
    if request.param == "files":
        yield LogStore(tmp_path / "logs")
        return
    store = SqlStore(empty_database(request.param, request), SEALER)
    store.lead("here", None)
    store.apply([Change(build("a")), Change(build("b"))])
    yield DatabaseLogs(store)
    store.close()


def test_a_log_that_has_not_begun_is_empty(logs: Logs) -> None:
    assert (logs.size(ID), logs.read(ID, 0, 10), logs.read(ID, 5, 10)) == (0, b"", b"")


@settings(
    max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.integers(0, 99), st.data())
def test_any_piece_of_a_log_can_be_read(
    logs: Logs, pieces: list[bytes], offset: int, data: st.DataObject
) -> None:
    before = logs.size(ID)
    whole = logs.read(ID, 0, before) + b"".join(pieces)
    for piece in pieces:
        logs.append(ID, piece)
    limit = data.draw(st.integers(1, 200))
    assert logs.size(ID) == len(whole)
    assert logs.read(ID, offset, limit) == whole[offset : offset + limit]
    assert logs.read(OTHER, 0, 10) == b""


def test_a_long_piece_is_read_at_any_offset(logs: Logs) -> None:
    long = os.urandom(300_000)
    logs.append(ID, b"x")
    logs.append(ID, long)
    assert logs.size(ID) == 300_001
    assert logs.read(ID, 65_530, 65_600) == long[65_529:131_129]
    assert logs.read(ID, 1, 10**9) == long


def test_who_leads_no_longer_appends_nothing(opened: Open) -> None:
    old, new = opened(), opened()
    old.lead("old", None)
    old.apply([Change(build("a"))])
    DatabaseLogs(old).append(ID, b"one")
    new.lead("new", None)
    with pytest.raises(LeadershipLostError):
        DatabaseLogs(old).append(ID, b"two")
    DatabaseLogs(new).append(ID, b" more")
    assert DatabaseLogs(old).read(ID, 0, 100) == b"one more"
