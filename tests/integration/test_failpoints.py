"""The framework is killed at each of its fail points; no build may be lost, doubled or wrong."""

from __future__ import annotations

import pytest

from builder_framework import failpoints
from devcluster import Cluster
from tests.chaos import points
from tests.chaos.evidence import leftovers
from tests.chaos.verdict import Complaint

# The first test waits for all of them: they run a few at a time.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

Complaints = dict[str, list[Complaint]]


@pytest.fixture(scope="module")
def complaints(
    cluster: Cluster, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Complaints:
    """What was wrong at each point that the chosen tests ask for."""
    asked = {
        item.callspec.params["point"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and "point" in getattr(item, "fixturenames", ())
    }
    chosen = [point for point in failpoints.POINTS if point in asked]
    found = dict(points.run(cluster, chosen, tmp_path_factory.mktemp("points")))
    found["afterwards"] = leftovers(cluster, ())
    points.forget(cluster)
    return found


# Behind a point more has happened that nobody has noted yet.
POINTS = [
    pytest.param(point, marks=[pytest.mark.slow] if point.endswith(".before") else [])
    for point in failpoints.POINTS
]


@pytest.mark.parametrize("point", POINTS)
def test_a_build_outlives_the_death_of_the_framework(complaints: Complaints, point: str) -> None:
    """SIGKILL there, a start without the point, and the one build ends well and once."""
    assert complaints[point] == []


def test_nothing_is_left_of_the_builds(complaints: Complaints) -> None:
    assert complaints["afterwards"] == []
