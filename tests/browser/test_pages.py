"""What people do with the page, as they do it."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from flask import Flask
from playwright.sync_api import expect

from api.web import reports
from builder_framework.domain.deployment import Deployment, DeploymentState
from builder_framework.domain.model import Resources
from builder_framework.ports import AgentFailure, AgentView, BuildRefusal, LastOffer, Refusal
from builder_framework.protocol import Reason
from builder_framework.recipe import Source, TaskSource
from tests.browser import scenes
from tests.browser.conftest import Visitor
from tests.unit.builds_double import PASSWORD, USER, MemoryBuilds

pytest_plugins = ("tests.unit.conftest_api",)

PAGES = ("/ui/", "/ui/queue", "/ui/agents", "/ui/charts", "/ui/submit")


def test_who_is_not_logged_in_is_led_to_his_page_by_way_of_the_form(stranger: Visitor) -> None:
    page = stranger.open("/ui/charts?owner=ann")
    assert page.url.startswith(f"{stranger.url}/ui/login")
    page.fill("[name=username]", USER)
    page.fill("[name=password]", "wrong")
    page.click("button")
    expect(page.locator(".alert")).to_contain_text("does not know this user")
    page.fill("[name=username]", USER)
    page.fill("[name=password]", PASSWORD)
    page.click("button")
    expect(page).to_have_url(f"{stranger.url}/ui/charts?owner=ann")
    # No script can read the session.
    assert page.evaluate("document.cookie") == ""
    page.click("text=Log out")
    expect(page).to_have_url(f"{stranger.url}/ui/login")
    stranger.open("/")
    assert "/ui/login" in page.url


def test_the_list_is_kept_up_to_date_without_a_reload(
    visitor: Visitor, builds: MemoryBuilds
) -> None:
    page = visitor.open("/")
    expect(page).to_have_url(f"{visitor.url}/ui/")
    expect(page.locator(".empty")).to_contain_text("Nothing was built yet")
    page.evaluate("window.here = true")
    build_id = scenes.running(builds)
    expect(page.locator(".state")).to_have_text("running")
    scenes.fail(builds, build_id)
    expect(page.locator(".state")).to_have_text("failed")
    expect(page.locator(".why")).to_have_text("RUN make: exit code 2")
    assert page.evaluate("window.here")


def test_search_and_filters_find_what_they_say(visitor: Visitor, builds: MemoryBuilds) -> None:
    first = scenes.queued(builds, images=["registry.example.org/shop:1"], labels={"team": "web"})
    second = scenes.running(builds, owner="bob", images=["registry.example.org/till:2"])
    page = visitor.open("/ui/")
    links = page.locator("#builds a[href^='/ui/builds/']")
    expect(links).to_have_count(2)
    page.fill("[name=q]", "TILL bob")
    page.press("[name=q]", "Enter")
    expect(links).to_have_count(1)
    expect(links).to_have_attribute("href", f"/ui/builds/{second}")
    visitor.open("/ui/?state=QUEUED")
    expect(links).to_have_attribute("href", f"/ui/builds/{first}")
    visitor.open("/ui/?label=team:web&q=")
    expect(links).to_have_attribute("href", f"/ui/builds/{first}")
    visitor.open("/ui/?label=team")
    expect(page.locator(".alert")).to_contain_text("must be key:value")
    visitor.open("/ui/")
    page.fill("[name=q]", second)
    page.press("[name=q]", "Enter")
    expect(page).to_have_url(f"{visitor.url}/ui/builds/{second}")


def test_older_builds_are_a_click_away(visitor: Visitor, builds: MemoryBuilds) -> None:
    oldest = scenes.queued(builds, images=["registry.example.org/oldest:1"])
    for _ in range(60):
        scenes.queued(builds)
    page = visitor.open("/ui/")
    expect(page.locator(f"a[href='/ui/builds/{oldest}']")).to_have_count(0)
    page.click("text=Older builds")
    expect(page.locator(f"a[href='/ui/builds/{oldest}']")).to_be_visible()


def test_a_build_from_its_queue_to_its_digest(visitor: Visitor, builds: MemoryBuilds) -> None:
    build_id = scenes.queued(builds, registry_auth={"username": "ci", "password": "s3cret-canary"})
    page = visitor.open(f"/ui/builds/{build_id}")
    expect(page.locator("#head .note")).to_contain_text("Place 1 in the queue")
    builds.place(build_id)
    builds.write(build_id, b"one\ntwo\n")
    expect(page.locator("#head .state")).to_have_text("running")
    expect(page.locator(".row")).to_have_count(2)
    scenes.succeed(builds, build_id)
    expect(page.locator("#head .state")).to_have_text("succeeded")
    legend = page.locator("#timeline .legend li")
    expect(legend).to_contain_text(["waiting", "task starts", "cloning", "building", "pushing"])
    page.click("#result button >> nth=0")
    expect(page.locator("#notice")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == scenes.DIGEST
    expect(page.locator("#cancel")).to_have_count(0)
    page.click("text=Request")
    expect(page.locator("pre.json")).to_contain_text('"password": "***"')
    assert "s3cret-canary" not in page.content()


def test_cancel_and_rebuild(visitor: Visitor, builds: MemoryBuilds) -> None:
    build_id = scenes.queued(builds)
    page = visitor.open(f"/ui/builds/{build_id}")
    page.click("text=Cancel…")
    page.click("text=Cancel this build")
    expect(page.locator("#head .state")).to_have_text("cancelled")
    page.click("text=Rebuild")
    expect(page.locator("#head .state")).to_have_text("queued")
    again = page.url.rpartition("/")[2]
    assert again != build_id
    assert builds.builds[again].request.images == builds.builds[build_id].request.images


def test_the_form_tells_what_is_wrong_and_keeps_what_was_right(
    visitor: Visitor, builds: MemoryBuilds
) -> None:
    page = visitor.open("/ui/submit")
    page.fill("[name=git_url]", "ftp://git.example.org/app.git")
    page.fill("[name=git_username]", "ann")
    page.fill("[name=git_password]", "s3cret-canary")
    page.fill("[name=images]", "registry.example.org/app:1\nregistry.example.org/app:2")
    page.click("text=Options")
    page.fill("[name=timeout]", "soon")
    page.fill("[name=build_args]", "A=1\nB=x=y")
    page.click("button.main")
    expect(page.locator("label:has([name=git_url]) .fault")).to_be_visible()
    expect(page.locator("label:has([name=timeout]) .fault")).to_have_text("must be a number")
    assert page.input_value("[name=git_password]") == ""
    assert "s3cret-canary" not in page.content()
    page.fill("[name=git_url]", "https://git.example.org/app.git")
    page.fill("[name=git_password]", "s3cret-canary")
    page.fill("[name=timeout]", "90")
    page.fill("[name=more]", '{"shm_size": 128}')
    page.click("button.main")
    expect(page.locator("#head .state")).to_have_text("queued")
    (build,) = builds.builds.values()
    assert build.request.images == ("registry.example.org/app:1", "registry.example.org/app:2")
    assert build.request.recipe.build_args == {"A": "1", "B": "x=y"}
    assert build.request.recipe.shm_size == 128
    assert build.request.timeout == 90
    page.click("text=Change and build")
    assert page.input_value("[name=build_args]") == "A=1\nB=x=y"
    assert page.input_value("[name=git_password]") == ""


def test_queue_and_agents_tell_the_reasons(visitor: Visitor, builds: MemoryBuilds) -> None:
    builds.refusals = (Refusal("mem", 2), Refusal("constraint:rack", 1))
    waiting = scenes.queued(builds)
    busy = scenes.running(builds)
    now = time.time()
    builds.known_agents = (
        AgentView(
            "agent-1",
            "node-1",
            "http://10.0.0.1:5051",
            (builds.builds[busy],),
            LastOffer(
                now - 60,
                Resources(2.0, 4096.0, 10240.0),
                {"rack": "r1"},
                None,
                False,
                (BuildRefusal("mem", 1),),
            ),
            (),
            3,
            (AgentFailure(now - 300, busy, Reason.ENGINE_FAILED),),
            now + 600,
        ),
    )
    page = visitor.open("/ui/queue")
    expect(page.locator("#queue a")).to_have_attribute("href", f"/ui/builds/{waiting}")
    expect(page.locator("#queue .reasons li")).to_have_text(
        ["mem on 2 agents", "constraint:rack on 1 agent"]
    )
    page = visitor.open("/ui/agents")
    card = page.locator(".card")
    expect(card.locator(".state.failed")).to_have_text("avoided")
    expect(card).to_contain_text("1 of 8")
    expect(card).to_contain_text("4.0 GiB memory")
    expect(card).to_contain_text("rack:r1")
    expect(card).to_contain_text("warmest for 3 sources")
    expect(card).to_contain_text("mem for 1 build")


def test_charts_count_what_there_was(visitor: Visitor, builds: MemoryBuilds) -> None:
    for number in range(6):
        build_id = scenes.running(builds)
        if number % 3:
            scenes.succeed(builds, build_id, 10.0 * number)
        else:
            scenes.fail(builds, build_id)
    page = visitor.open("/ui/charts")
    titles = page.locator("rect.bar title").all_text_contents()
    told = [re.search(r": (\d+) (succeeded|failed)", title) for title in titles]
    totals = dict.fromkeys(("succeeded", "failed"), 0)
    for match in filter(None, told):
        totals[match[2]] += int(match[1])
    assert totals == {"succeeded": 4, "failed": 2}
    expect(page.locator("rect.bar.median").first).to_be_attached()


def test_every_page_fits_a_phone(visitor: Visitor, builds: MemoryBuilds) -> None:
    image = "registry.example.org/" + "a-very-long-name" * 12 + ":1"
    done = scenes.running(builds, images=[image])
    builds.write(done, b"x" * 5000 + b"\n")
    scenes.fail(builds, done, "y" * 500)
    scenes.queued(builds, images=[image])
    visitor.page.set_viewport_size({"width": 360, "height": 740})
    for path in (*PAGES, f"/ui/builds/{done}", "/ui/nowhere"):
        page = visitor.open(path)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, f"{path} is {width} wide"


def test_a_part_that_is_not_ours_is_refused_and_reported(stranger: Visitor, app: Flask) -> None:
    """What all other tests rely upon: that an inline script would be seen."""
    stranger.log_in()
    page = stranger.open("/ui/")
    with page.expect_response("**/ui/reports"):
        page.evaluate(
            """() => {
                const script = document.createElement("style");
                script.textContent = "body { color: red }";
                document.head.append(script);
            }"""
        )
    (report,) = app.extensions[reports.EXTENSION]
    assert report["violated-directive"].startswith("style-src")
    assert page.evaluate("getComputedStyle(document.body).color") != "rgb(255, 0, 0)"


@pytest.mark.parametrize("path", ["/ui/nowhere", "/ui/builds/0000000000000000", "/ui/builds/x"])
def test_what_is_not_there_is_told_on_a_page(visitor: Visitor, path: str) -> None:
    page = visitor.open(path)
    expect(page.locator("h1")).to_have_text("Not Found")
    expect(page.locator("nav")).to_be_visible()


def test_what_becomes_of_an_image_after_its_build_is_followed(
    visitor: Visitor, builds: MemoryBuilds
) -> None:
    """The page goes on until the deployment is over, and shows what others wrote as text."""
    build_id = scenes.running(builds)
    scenes.succeed(builds, build_id)
    image = f"registry.example.org/app@{scenes.DIGEST}"
    going = Deployment(
        build_id, "/shop/web", image, 60.0, 1.0, DeploymentState.DEPLOYING, started_at=2.0
    )
    builds.deployments[build_id] = going
    page = visitor.open(f"/ui/builds/{build_id}")
    section = page.locator("#deployment")
    expect(section.locator("p")).to_have_text("DEPLOYING /shop/web")
    expect(section.locator(".alert")).to_have_count(0)
    builds.deployments[build_id] = replace(
        going,
        state=DeploymentState.ROLLED_BACK,
        message="<img src=x onerror=alert(1)> is not healthy",
        previous="registry.example.org/app:1",
        ended_at=9.0,
    )
    expect(section.locator(".alert")).to_contain_text("ROLLED_BACK /shop/web: <img src=x")
    expect(section.locator("dd code").first).to_have_text(image)
    expect(section).to_contain_text("registry.example.org/app:1")
    expect(section).to_contain_text("7.0 s")


def test_a_task_is_on_the_page_as_the_program_that_it_is(
    visitor: Visitor, builds: MemoryBuilds
) -> None:
    source = Source(task=TaskSource("docker.io/library/busybox:1", "echo <b>hi</b>"))
    request = replace(scenes.asked(), source=source, images=())
    task = builds.submit(request, "ann")[0].build.id
    page = visitor.open("/ui/")
    link = page.locator(f"a[href='/ui/builds/{task}']")
    expect(link).to_have_text("docker.io/library/busybox:1")
    link.click()
    expect(page.locator("h1")).to_contain_text("docker.io/library/busybox:1")
    expect(page.locator("form[action$='/rebuild']")).to_have_count(0)
    page.click("text=Request")
    expect(page.locator("pre.json")).to_contain_text("echo <b>hi</b>")
