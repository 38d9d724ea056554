"""A registry that fails one request of a push costs nothing but time; see also registry_faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import Cluster
from tests.integration.faulty_proxy import Fault
from tests.integration.registry_faults import Case, executors_engine, impatient

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def engine(cluster: Cluster) -> Iterator[Path]:
    with executors_engine(cluster) as socket, impatient():
        yield socket


@pytest.fixture(scope="module")
def requests_of_a_push(cluster: Cluster, engine: Path) -> int:
    clean = Case(cluster, engine).run()
    assert clean.wrong is None, clean.log
    return clean.requests


# The engine's first request, one of its uploads, and the putting of a tag.
@pytest.mark.parametrize("at", [0, 4, -6])
@pytest.mark.parametrize("fault", Fault, ids=[fault.value for fault in Fault])
def test_one_failed_request(
    cluster: Cluster, engine: Path, requests_of_a_push: int, fault: Fault, at: int
) -> None:
    case = Case(cluster, engine, fault, at % requests_of_a_push).run()
    assert case.wrong is None, case.log
    assert case.builds == 1
