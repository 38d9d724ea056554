"""What operators take from `deploy/` fits what we say in `/metrics`, and their tools take it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from builder_framework.service import measures

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "builder.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "builder.json"


def sample_names() -> set[str]:
    """The names by which a query may ask for our metrics."""
    suffixes = {
        "counter": ("_total",),
        "gauge": ("",),
        "histogram": ("_bucket", "_count", "_sum"),
    }
    found = measures.all_families()
    return {f"{each.name}{suffix}" for each in found for suffix in suffixes[each.type]}


def texts(value: Any) -> Iterator[str]:
    """Every query of a dashboard."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key in ("expr", "query") and isinstance(each, str):
                yield each
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def test_the_dashboard_asks_for_metrics_that_there_are(dashboard: dict[str, Any]) -> None:
    asked = {name for query in texts(dashboard) for name in re.findall(r"builder_[a-z_]+", query)}
    assert asked - sample_names() == set()
    # And shows each of them, one way or another.
    shown = {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in asked}
    families = {each.name for each in measures.all_families()}
    assert families - shown == set()


def test_the_dashboard_is_one_to_grafanas_own_model(dashboard: dict[str, Any]) -> None:
    """Grafana publishes the classes of its schema: what they do not know would be lost there."""
    register_default_plugins()
    loaded = Dashboard.from_json(dashboard)
    again = json.loads(JSONEncoder().encode(loaded))
    assert list(lost(dashboard, again)) == []
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Where `after` lacks what `before` has."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after.get(key), f"{path}/{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{path}/{number}")
    elif before != after:
        yield path


def test_alerts_ask_for_metrics_that_there_are() -> None:
    rules = re.sub(r"#.*", "", RULES.read_text())
    asked = set(re.findall(r"\bbuilder_[a-z_]+", rules))
    assert len(asked) > 8
    assert asked - sample_names() == set()


def test_every_alert_is_explained_and_has_a_test() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    page = (DEPLOY.parent / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert [each for each in sorted(alerts) if f"`{each}`" not in page] == []
    tested = re.findall(r"alertname: (\w+)", RULES.with_suffix(".test.yml").read_text())
    assert alerts == set(tested)


@pytest.mark.parametrize("words", [("check", RULES.name), ("test", "builder.rules.test.yml")])
def test_promtool_takes_the_rules(words: tuple[str, str]) -> None:
    command = ["promtool", words[0], "rules", words[1]]
    done = subprocess.run(
        command, cwd=RULES.parent, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout
