"""A browser, and one who is logged in; what his browser refused or stumbled upon is a failure."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from flask import Flask
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    sync_playwright,
)

from api.web import reports
from tests.unit.builds_double import PASSWORD, USER, MemoryBuilds


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's own; `make bootstrap` installs it."""
    program = shutil.which("chromium")
    assert program is not None, "there is no chromium: run make bootstrap"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


@dataclass
class Visitor:
    """Somebody in front of a browser. `trouble`: what no page of ours may bring about."""

    context: BrowserContext
    page: Page
    url: str
    trouble: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(10_000)
        self.page.on("dialog", self._dialog)
        self.page.on("pageerror", lambda error: self.trouble.append(f"script: {error}"))
        self.page.on("console", self._console)

    def log_in(self) -> None:
        """As the form does it; the cookie is the browser's from then on."""
        form: dict[str, str | float | bool] = {"username": USER, "password": PASSWORD}
        answer = self.context.request.post(f"{self.url}/ui/login", form=form)
        assert answer.status == 200, answer.status

    def open(self, path: str) -> Page:
        """Go there."""
        self.page.goto(f"{self.url}{path}")
        return self.page

    def _dialog(self, dialog: Dialog) -> None:
        self.trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "status of" not in message.text:
            self.trouble.append(f"console: {message.text}")


@pytest.fixture
def builds() -> MemoryBuilds:
    """Of today, so that ages make sense."""
    made = MemoryBuilds()
    made._now = time.time() - 600
    return made


@pytest.fixture
def stranger(chromium: Browser, server: str) -> Iterator[Visitor]:
    """Nobody yet."""
    context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    visitor = Visitor(context, context.new_page(), server)
    yield visitor
    context.close()


@pytest.fixture
def visitor(stranger: Visitor, app: Flask) -> Iterator[Visitor]:
    """Logged in. At the end there was no dialog, no fault of a script and no report."""
    stranger.log_in()
    yield stranger
    # Reports are sent a moment after.
    stranger.page.wait_for_timeout(50)
    assert stranger.trouble == []
    assert list(app.extensions[reports.EXTENSION]) == []
