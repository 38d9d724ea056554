"""The page of a real framework process, which has no master to speak to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visitor


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def process(tmp_path: Path) -> Iterator[str]:
    """Its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    kept = {name: text for name, text in os.environ.items() if not name.startswith("BUILDER_")}
    settings = {
        "BUILDER_MESOS_MASTER": "127.0.0.1:1",
        "BUILDER_HTTP_PORT": str(port),
        "BUILDER_USERNAME": "ann",
        "BUILDER_PASSWORD": "a password",
        "BUILDER_DATA_DIR": str(tmp_path / "data"),
        "BUILDER_EXECUTOR_IMAGE": "builder-executor",
    }
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "builder_framework"],
            env={**kept, **settings},
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(200):
            try:
                requests.get(f"{url}/healthz", timeout=1)
                break
            except requests.ConnectionError:
                assert running.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
        yield url
    finally:
        running.terminate()
        running.wait(20)


def test_from_the_login_to_a_build_that_waits_and_is_cancelled(
    chromium: Browser, process: str
) -> None:
    context = chromium.new_context()
    visitor = Visitor(context, context.new_page(), process)
    page = visitor.open("/")
    page.fill("[name=username]", "ann")
    page.fill("[name=password]", "a password")
    page.click("button")
    page.click("nav >> text=New build")
    page.fill("[name=git_url]", "https://git.example.org/app.git")
    page.fill("[name=images]", "registry.example.org/app:1")
    page.click("button.main")
    expect(page.locator("#head .state")).to_have_text("queued")
    expect(page.locator("#head .note")).to_contain_text("not connected to a Mesos master")
    page.click("nav >> text=Queue")
    expect(page.locator("#queue tbody tr")).to_have_count(1)
    page.click("#queue a")
    page.click("text=Cancel…")
    page.click("text=Cancel this build")
    expect(page.locator("#head .state")).to_have_text("cancelled")
    page.click("nav >> text=Charts")
    expect(page.locator("rect.bar.cancelled")).to_have_count(1)
    assert visitor.trouble == []
    context.close()
