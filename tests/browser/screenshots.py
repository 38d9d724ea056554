"""Takes the pictures of the pages in docs/images/: light and dark, wide and narrow."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from werkzeug.serving import make_server

from api import create_app
from builder_framework.domain.model import Resources
from builder_framework.people import People
from builder_framework.ports import (
    AgentFailure,
    AgentView,
    BuildRefusal,
    ExecutorView,
    LastOffer,
    Refusal,
    RequestPolicy,
)
from builder_framework.protocol import Reason
from builder_framework.redact import Secret
from builder_framework.users import SingleUser
from tests.browser import scenes
from tests.browser.conftest import Visitor
from tests.unit.builds_double import PASSWORD, USER, MemoryBuilds

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIZES = {"wide": (1100, 760), "narrow": (390, 760)}
SCHEMES = ("light", "dark")

LOG = """\
== CLONING: https://git.example.org/shop/web.git main
Receiving objects: 100% (3127/3127), 4.21 MiB, done.
HEAD is 4f1c9a0be3d2 \x1b[2mTill: totals with tax\x1b[0m

== BUILDING: Dockerfile
#1 [1/5] FROM registry.example.org/base/python:3.13@sha256:5a1c…
#1 \x1b[32mCACHED\x1b[0m
#2 [2/5] COPY requirements.txt .
#2 \x1b[32mCACHED\x1b[0m
#3 [3/5] RUN pip install -r requirements.txt
#3 1.204 Collecting flask==3.1.3
#3 2.911 \x1b[33mWARNING: Running pip as the 'root' user can result in broken permissions\x1b[0m
#3 6.320 \x1b[1;32mSuccessfully installed\x1b[0m flask-3.1.3 jinja2-3.1.6 werkzeug-3.1.4
#4 [4/5] COPY . .
#5 [5/5] RUN make check
#5 0.412 \x1b[36mruff\x1b[0m  All checks passed!
#5 4.870 \x1b[36mtests\x1b[0m 412 passed in 4.31s

== PUSHING: registry.example.org/shop/web:1.8
"""


def main() -> None:
    """Write all pictures."""
    program = shutil.which("chromium")
    assert program is not None, "there is no chromium: run make bootstrap"
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    builds = MemoryBuilds()
    shown = _fill(builds)
    app = create_app(builds, People(SingleUser(USER, Secret(PASSWORD))), RequestPolicy())
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pages = {
        "login": "/ui/login",
        "builds": "/ui/",
        "build": f"/ui/builds/{shown}",
        "queue": "/ui/queue",
        "agents": "/ui/agents",
        "charts": "/ui/charts",
        "submit": "/ui/submit",
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        for scheme in SCHEMES:
            for name, size in SIZES.items():
                _take(browser, f"http://127.0.0.1:{server.server_port}", pages, scheme, name, size)
        browser.close()
    server.shutdown()


def _take(
    browser: Browser,
    url: str,
    pages: dict[str, str],
    scheme: str,
    name: str,
    size: tuple[int, int],
) -> None:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    visitor = Visitor(context, context.new_page(), url)
    for page_name, path in pages.items():
        page = visitor.open(path)
        if page_name == "login":
            visitor.log_in()
        if page_name == "build":
            page.wait_for_selector("#log[data-loaded]")
        page.wait_for_timeout(150)
        file = IMAGES / f"web-{page_name}-{name}-{scheme}.png"
        page.screenshot(path=file, animations="disabled")
        print(f"{file.name}: {file.stat().st_size // 1024} KiB")
    assert visitor.trouble == [], visitor.trouble
    context.close()


def _fill(builds: MemoryBuilds) -> str:
    """A cluster at work; the id of the build to show."""
    now = time.time()
    names = ("web", "till", "stock", "mail", "search")
    for number in range(64):
        builds._now = now - (64 - number) * 5400
        name = names[number % 5]
        build_id = scenes.running(
            builds,
            owner=("ann", "bob", "carol")[number % 3],
            images=[f"registry.example.org/shop/{name}:{number}"],
            source={"git": {"url": f"https://git.example.org/shop/{name}.git", "ref": "main"}},
        )
        if number % 7 == 3:
            scenes.fail(builds, build_id, "RUN make check: exit code 2")
        elif number % 23 == 11:
            builds._now += 30
            builds.cancel(build_id, "ann")
        else:
            scenes.succeed(builds, build_id, 35 + (number * 37) % 50)
    builds._now = now - 150
    shown = scenes.running(
        builds,
        images=["registry.example.org/shop/web:1.8", "registry.example.org/shop/web:latest"],
        source={"git": {"url": "https://git.example.org/shop/web.git", "ref": "main"}},
        labels={"team": "shop"},
    )
    builds.write(shown, LOG.encode())
    scenes.succeed(builds, shown, 41)
    builds._now = now - 40
    busy = scenes.running(builds, owner="bob", images=["registry.example.org/shop/till:2.0-rc1"])
    builds.refusals = (Refusal("cpus", 1), Refusal("constraint:zone", 1))
    for tag in ("3.1", "3.2"):
        scenes.queued(
            builds, owner="carol", images=[f"registry.example.org/lab/model:{tag}"], priority=5
        )
    builds.known_agents = (
        AgentView(
            "agent-1",
            "node-1.example.org",
            "http://10.0.0.1:5051",
            (builds.builds[busy],),
            LastOffer(
                now - 12,
                Resources(2.0, 6144.0, 81920.0),
                {"rack": "r1", "zone": "a"},
                refusals=(BuildRefusal("cpus", 2),),
            ),
            (ExecutorView("executor-7f3a", (busy,), None, 14, True),),
            5,
        ),
        AgentView(
            "agent-2",
            "node-2.example.org",
            "http://10.0.0.2:5051",
            (),
            LastOffer(
                now - 12,
                Resources(8.0, 16384.0, 122880.0),
                {"rack": "r2", "zone": "b"},
                refusals=(BuildRefusal("constraint:zone", 2),),
            ),
            (ExecutorView("executor-91bc", (), now - 95, 9, True),),
            3,
            (AgentFailure(now - 700, shown, Reason.ENGINE_FAILED),),
            now + 500,
        ),
    )
    return shown


if __name__ == "__main__":
    main()
