"""A build asked for and followed in a browser, on a real cluster."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from devcluster import Cluster
from devcluster.samples import PUBLIC
from tests.integration.conftest import PORT
from tests.integration.harness import PASSWORD, USER, Framework

pytestmark = pytest.mark.integration


class Local(Framework):
    """On loopback, where browsers take a session without TLS."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def local(cluster: Cluster, tmp_path: Path) -> Iterator[Local]:
    settings = {"BUILDER_HTTP_HOST": "127.0.0.1", "BUILDER_BEHIND_TLS_PROXY": "false"}
    running = Local(cluster, tmp_path / "data", PORT + 7, settings)
    running.start()
    yield running
    running.end(signal.SIGTERM)


@pytest.fixture
def page(local: Local) -> Iterator[Page]:
    """Of one who is logged in."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page()
        page.goto(f"{local.url}/")
        page.fill("[name=username]", USER)
        page.fill("[name=password]", PASSWORD)
        page.click("button")
        yield page
        browser.close()


def test_from_the_form_to_the_digest(page: Page, local: Local, cluster: Cluster, name: str) -> None:
    """Form, live log, result; the agents' page names where it ran."""
    registry = cluster.registry
    page.click("nav >> text=New build")
    page.fill("[name=git_url]", cluster.git.clone_url(PUBLIC))
    page.fill("[name=images]", f"{registry.address}/{name}:1")
    page.fill("[name=registry_username]", registry.username)
    page.fill("[name=registry_password]", registry.password)
    page.click("button.main")
    expect(page.locator("#head .state")).to_have_text("succeeded", timeout=90_000)
    page.fill("#log-search", "== PUSHING")
    expect(page.locator("mark.current")).to_have_text("== PUSHING")
    build = local.get(page.url.rpartition("/")[2])
    expect(page.locator("#result")).to_contain_text(build["result"]["digest"])
    legend = page.locator("#timeline .legend")
    expect(legend).to_contain_text("building")
    assert registry.password not in page.content()
    page.click("nav >> text=Agents")
    hostname = build["attempts"][0]["agent"]["hostname"]
    expect(page.locator(".card h2", has_text=hostname).first).to_be_visible()
