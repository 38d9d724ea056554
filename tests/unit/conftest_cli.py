"""The `builder` command as a user of a real HTTP server runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from builder_framework.cli.commands import cli
from tests.unit.builds_double import PASSWORD, USER
from tests.unit.commands import Run

pytest_plugins = ("tests.unit.conftest_api",)


@pytest.fixture
def run(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `builder` with the environment of a user of `server`."""
    for name in ("BUILDER_GIT_PASSWORD", "BUILDER_REGISTRY_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("BUILDER_URL", server)
    monkeypatch.setenv("BUILDER_USERNAME", USER)
    monkeypatch.setenv("BUILDER_PASSWORD", PASSWORD)

    def builder(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(cli, list(arguments), input=stdin, catch_exceptions=False)

    return builder
