"""`deploy/compose` is what it can be shown to be without images: parts that fit together.

That Docker runs it is not shown here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder_framework import config

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "compose" / "docker-compose.yml"
TOLD = {"MESOS_IMAGE": "mesos:1.11", "BUILDER_PASSWORD": "canary"}


def interpolated(text: str) -> str:
    """`${NAME:-default}` and `${NAME:?why}`, as Compose has them."""
    return re.sub(
        r"\$\{(\w+):(?:-([^}]*)|\?[^}]*)\}", lambda found: TOLD.get(found[1], found[2]), text
    )


@pytest.fixture
def services() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(interpolated(FILE.read_text()))
    return loaded["services"]  # type: ignore[no-any-return]


def test_the_framework_starts_with_it(services: dict[str, Any]) -> None:
    env = services["framework"]["environment"]
    assert {each.removeprefix("BUILDER_").lower() for each in env} <= (
        config.Settings.model_fields.keys()
    )
    settings = config.load(env)
    assert settings.password is not None
    assert settings.executor_image == services["executor"]["image"]
    assert settings.mesos_master == services["agent"]["environment"]["MESOS_MASTER"]
    registry = services["registry"]["environment"]["REGISTRY_HTTP_ADDR"]
    assert settings.insecure_registries == (registry,)
    assert "framework:/var/lib/builder" in services["framework"]["volumes"]


def test_what_agent_and_executors_share_has_one_path(services: dict[str, Any]) -> None:
    agent = services["agent"]
    work = agent["environment"]["MESOS_WORK_DIR"]
    assert f"{work}:{work}" in agent["volumes"]
    assert agent["pid"] == "host"


def test_what_is_built_is_there(services: dict[str, Any]) -> None:
    for name in ("framework", "executor"):
        build = services[name]["build"]
        context = (FILE.parent / build["context"]).resolve()
        assert context == ROOT
        assert (context / build.get("dockerfile", "Dockerfile")).is_file()
