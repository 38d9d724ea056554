"""What the benchmarks make of what they measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bench import breakdown, project
from bench.chart import chart
from bench.figures import Series, at_most, plain, table, times_faster, write

FAST, SLOW = Series("fast", [1.0, 3.0, 2.0]), Series("slow", [20.0, 22.0, 21.0])


def test_a_figure_has_median_edges_and_ratio() -> None:
    found = plain(SLOW, compared=FAST)
    assert (found.value, found.min, found.max, found.n) == (21.0, 20.0, 22.0, 3)
    assert (found.compared_with, found.compared_value, found.ratio) == ("fast", 2.0, 10.5)


@pytest.mark.parametrize(("limit", "holds"), [(18.9, False), (19.0, True)])
def test_an_overhead_is_a_difference(limit: float, holds: bool) -> None:
    found = at_most("overhead", SLOW, FAST, limit)
    assert (found.value, found.holds) == (19.0, holds)


@pytest.mark.parametrize(("least", "holds"), [(10.6, False), (10.5, True)])
def test_a_speed_up_is_a_ratio(least: float, holds: bool) -> None:
    found = times_faster("speed", FAST, SLOW, least)
    assert (found.ratio, found.holds) == (10.5, holds)
    assert ("DOES NOT HOLD" in table([found])) is not holds


def test_results_are_written_for_programs(tmp_path: Path) -> None:
    path = write("x", [plain(FAST), at_most("overhead", SLOW, FAST, 1.0)], tmp_path / "out")
    first, second = json.loads(path.read_text())
    assert (first["name"], first["unit"], first["target"], first["holds"]) == (
        *("fast", "s"),
        *(None, None),
    )
    assert (second["target"], second["holds"]) == ("<= 1 s", False)


def build(**timings: float) -> dict[str, Any]:
    return {
        "created_at": "1970-01-01T00:00:10.500Z",
        "ended_at": "1970-01-01T00:00:20.000Z",
        "attempts": [
            {"placed_at": "1970-01-01T00:00:11.000Z", "running_at": "1970-01-01T00:00:13.000Z"}
        ],
        "result": {"timings": {"cloning": 1.0, "building": 4.0, "pushing": 1.5, **timings}},
    }


def test_phases_add_up_to_the_whole() -> None:
    found = breakdown.phases(10.0, build(engine=2.25), container=12.0)
    assert found == pytest.approx(
        {
            "request": 0.5,
            "offer": 0.5,
            "container": 1.0,
            "executor": 1.0,
            "clone": 1.0,
            "engine": 1.25,
            "build": 2.75,
            "push": 1.5,
            "report": 0.5,
        }
    )
    assert tuple(found) == breakdown.PHASES


def test_what_runs_already_takes_no_time() -> None:
    found = breakdown.phases(10.0, build(engine=0.0), container=None)
    assert (found["container"], found["executor"], found["engine"]) == (0.0, 2.0, 0.0)
    assert sum(found.values()) == pytest.approx(10.0)


def test_the_project_works_as_long_as_it_says() -> None:
    dockerfile = project.files("base", 400.0)["Dockerfile"]
    assert f"count={int(400 * 18 / 4)} " in str(dockerfile)
    assert "count=400 " in str(dockerfile)


def test_the_chart_is_svg_with_a_bar_for_each() -> None:
    root = ET.fromstring(chart([FAST, Series("ours <&>", [2.0])]))  # noqa: S314 (our own)
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"fast", "ours <&>", "2.0"} <= set(texts)
