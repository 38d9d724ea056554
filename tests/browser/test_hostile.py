"""A corpus of hostile names and logs: no dialog, no report, no script's fault, no broken page."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from api.web import show
from builder_framework.domain import events as ev
from builder_framework.domain.model import Resources
from builder_framework.ports import AgentView, BuildRefusal, ExecutorView, LastOffer, Refusal
from builder_framework.protocol import FailedStep, PushedImage, Reason, Report
from builder_framework.recipe import GitSource, Source
from tests.browser import hostile, scenes
from tests.browser.conftest import Visitor
from tests.unit.builds_double import MemoryBuilds

pytest_plugins = ("tests.unit.conftest_api",)

HIDDEN = (
    r"/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/"
)

GROUPS = {
    "markup": hostile.MARKUP,
    "attributes": (*hostile.ATTRIBUTES, *hostile.TEMPLATES),
    "urls": hostile.URLS,
    "terminal": hostile.TERMINAL,
    "unicode": hostile.UNICODE,
    "huge": hostile.HUGE,
}


def whole(page: Page) -> None:
    """It is the page that we made: its own parts, nothing foreign, and it still works."""
    expect(page.locator("header.top nav a")).to_have_count(5)
    assert page.locator("script:not([src^='/ui/static/'])").count() == 0
    assert (
        page.locator(
            "iframe, object, embed, base, [onerror], [onload], [style]:not(#log *)"
        ).count()
        == 0
    )
    links = page.evaluate("[...document.links].map(link => link.protocol + '//' + link.host)")
    assert set(links) == {page.evaluate("location.origin")}
    assert page.evaluate(f"!{HIDDEN}.test(document.body.innerText.replace(/[\\n\\t]/g, ''))")


def named(builds: MemoryBuilds, texts: list[str]) -> str:
    """A failed build that has the texts in every place that somebody else may fill."""
    build_id = scenes.running(builds)
    all_of_them = " ".join(texts)
    scenes.moved(
        build_id,
        builds,
        source=Source(GitSource(f"https://git.example.org/{all_of_them}", ref=all_of_them)),
        images=tuple(texts),
        labels={text: text for text in texts},
        project=all_of_them,
        group=all_of_them,
    )
    attempt = replace(builds.builds[build_id].attempts[0], placement=scenes.elsewhere(all_of_them))
    builds.set(build_id, owner=all_of_them, attempts=(attempt,))
    report = Report(
        commit=all_of_them,
        digest=all_of_them,
        images=tuple(PushedImage(text, text) for text in texts),
        failed_step=FailedStep(all_of_them, 1, 1),
        timings={**dict.fromkeys(texts, 0.01), "total": 2.0},
    )
    failed = ev.TaskFailed(1, Reason.STEP_FAILED, all_of_them, report)
    builds.apply(build_id, failed, ev.LogCompleted())
    return build_id


@pytest.mark.parametrize("group", GROUPS)
def test_names(visitor: Visitor, builds: MemoryBuilds, group: str) -> None:
    """The texts of a group, six to a build; the first of each is its title."""
    texts = [text.encode("utf-8", "replace").decode() for text in GROUPS[group]]
    parts = [texts[n : n + 6] for n in range(0, len(texts), 6)]
    made = [named(builds, part) for part in parts]
    page = visitor.open("/ui/")
    whole(page)
    expect(page.locator("#builds tbody tr")).to_have_count(len(parts))
    for part, build_id in zip(parts, made, strict=True):
        page = visitor.open(f"/ui/builds/{build_id}")
        whole(page)
        expect(page.locator("h1 .state")).to_have_text("failed")
        assert page.locator("h1 bdi").text_content() == seen(show.short(part[0], 2000))
        copies = page.locator("#result dd [data-copy]").evaluate_all(
            "found => found.map(each => each.dataset.copy)"
        )
        # What is copied is what is shown.
        assert copies[1:] == [seen(f"{text}@{text}") for text in part]
        # Looked at again, as the page does by itself.
        page.evaluate("import('/ui/static/page.js').then(module => module.refresh())")
        whole(page)
    page = visitor.open(f"/ui/builds/{made[0]}/change")
    whole(page)
    visitor.open("/ui/charts")
    whole(page)


def seen(text: str) -> str:
    """What a person sees of it."""
    hidden = (
        *range(9),
        0xB,
        0xC,
        *range(0xE, 0x20),
        *range(0x7F, 0xA0),
        0x61C,
        0x200B,
        0x200E,
        0x200F,
        *range(0x2028, 0x202F),
        0x2060,
        *range(0x2066, 0x206A),
        0xFEFF,
    )
    told = {number: f"\u2039U+{number:04X}\u203a" for number in hidden}
    # HTML's parser makes one line feed of CR and CRLF.
    return text.translate(told).replace("\r\n", "\n").replace("\r", "\n")


def test_names_in_queue_and_of_agents(visitor: Visitor, builds: MemoryBuilds) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in hostile.TEXTS]
    builds.refusals = tuple(Refusal(text, 1) for text in texts)
    for text in texts[:40]:
        build_id = scenes.queued(builds)
        scenes.moved(build_id, builds, images=(text,))
        builds.set(build_id, owner=text)
    builds.known_agents = tuple(
        AgentView(
            f"agent-{number}",
            text,
            f"http://{text}",
            (),
            LastOffer(0.0, Resources(), {text: text}, 0.0, False, (BuildRefusal(text, 1),)),
            (ExecutorView(text, (), 0.0, 1, True),),
        )
        for number, text in enumerate(texts)
    )
    page = visitor.open("/ui/queue")
    whole(page)
    expect(page.locator("#queue tbody tr")).to_have_count(40)
    visitor.open("/ui/agents")
    whole(page)
    expect(page.locator(".cards .card")).to_have_count(len(texts))


@pytest.mark.parametrize("path", ["/ui/?q=", "/ui/?label=", "/ui/?owner=", "/ui/charts?image="])
def test_in_the_address(visitor: Visitor, builds: MemoryBuilds, path: str) -> None:
    scenes.queued(builds)
    for text in hostile.TEXTS[::9]:
        quoted = visitor.page.evaluate("encodeURIComponent", text)
        page = visitor.open(f"{path}{quoted}")
        whole(page)


def test_in_a_form_that_comes_back(visitor: Visitor) -> None:
    page = visitor.open("/ui/submit")
    page.click("text=Options")
    for texts in (hostile.MARKUP, hostile.ATTRIBUTES, hostile.TEMPLATES, hostile.URLS):
        for name in ("git_url", "git_ref", "project"):
            page.fill(f"[name={name}]", texts[0])
        page.fill("[name=images]", "\n".join(texts))
        page.fill("[name=labels]", "\n".join(f"{text}={text}" for text in texts))
        page.fill("[name=more]", "\n".join(texts))
        page.click("button.main")
        expect(page.locator(".alert").first).to_be_visible()
        whole(page)
        assert page.input_value("[name=git_ref]") == texts[0]


def test_logs(visitor: Visitor, builds: MemoryBuilds) -> None:
    """One after the other in one log; after each a line that must be there as it is."""
    build_id = scenes.running(builds)
    lines = [text.encode("utf-8", "replace") for text in (*hostile.TEXTS, *hostile.HUGE)]
    lines += hostile.BYTES
    for number, line in enumerate(lines):
        builds.write(build_id, line + b"\x1b[m\n" + f"sound {number}\n".encode())
    page = visitor.open(f"/ui/builds/{build_id}")
    page.wait_for_selector("#log[data-loaded]")
    whole(page)
    for number in range(len(lines)):
        page.fill("#log-search", f"sound {number}")
        expect(page.locator("mark.current", has_text=f"sound {number}")).to_be_visible()
    whole(page)
    assert page.locator("#log :not(div, span, a, mark)").count() == 0


def test_a_live_log_cut_anywhere(visitor: Visitor, builds: MemoryBuilds) -> None:
    """Sequences and characters arrive in two parts."""
    build_id = scenes.running(builds)
    page = visitor.open(f"/ui/builds/{build_id}")
    page.wait_for_selector("#log[data-loaded]")
    whole_text = "\x1b[31mr\u00e9d\x1b[0m<img src=x onerror=alert(1)>\u202e\r\n".encode()
    for cut in range(1, len(whole_text)):
        builds.write(build_id, whole_text[:cut])
        builds.write(build_id, whole_text[cut:])
    expected = "réd<img src=x onerror=alert(1)>\u2039U+202E\u203a"
    rows = page.locator(".row .text")
    # All of them are there; those far from the end are no elements.
    expect(page.locator("#log .space")).to_have_css("height", f"{(len(whole_text) - 1) * 20}px")
    assert set(rows.all_text_contents()) == {expected}
    whole(page)
