"""What the pages make of values: text, spans of time, charts, the body of a form."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from markupsafe import Markup

from api import render, schemas
from api.web import charts, show, submit, timeline
from builder_framework.domain import events as ev
from builder_framework.domain.model import Build
from builder_framework.domain.states import State
from builder_framework.ports import RequestPolicy
from builder_framework.protocol import Phase, Reason, Report
from tests.contract import builds as contract
from tests.unit.builds_double import BODY

POLICY = RequestPolicy()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 漢 👍", "plain ä 漢 👍"),
        ("a\u202eb", "a\u2039U+202E\u203ab"),
        ("\x1b[31m", "\u2039U+001B\u203a[31m"),
        ("\ud800", "\u2039U+D800\u203a"),
        ("a\nb\tc", "a\nb\tc"),
        ("family \u200d", "family \u200d"),
        (None, ""),
        (3, 3),
    ],
)
def test_text_has_no_hidden_characters(text: object, shown: object) -> None:
    assert show.visible(text) == shown


def test_markup_of_ours_stays() -> None:
    assert show.visible(Markup("<b>\u202e</b>")) == "<b>\u202e</b>"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""),
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (12.4, "12 s"),
        (59.6, "1 min 0 s"),
        (184, "3 min 4 s"),
        (7500, "2 h 5 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert show.duration(seconds) == shown


def test_sizes() -> None:
    told = [show.size(x) for x in (None, 0, 1023, 1536, 48_300_000, 5e12)]
    assert told == ["", "0 B", "1023 B", "1.5 KiB", "46.1 MiB", "4656.6 GiB"]


def names(build: Build, now: float) -> list[tuple[str, float]]:
    found = timeline.spans(build, now)
    return [(span.name, round(span.seconds(now), 1)) for span in found]


def test_a_build_that_waits_has_one_span_up_to_now() -> None:
    build = contract.build("a")
    assert names(build, 31.0) == [("waiting", 30.0)]
    (span,) = timeline.spans(build, 31.0)
    assert (span.left, span.width, span.end) == (0.0, 1000.0, None)


def test_a_build_that_runs_is_in_its_phase() -> None:
    build = contract.after(
        contract.build("a"),
        ev.Placed(contract.PLACEMENT),
        ev.TaskSeen(1, running=True),
        ev.TaskProgressed(1, Report(phase=Phase.BUILDING)),
    )
    build = replace(build, attempts=(replace(build.attempts[0], running_at=5.0),))
    expected = [("waiting", 1.0), ("task starts", 3.0), ("building", 15.0)]
    assert names(build, 20.0) == expected


def test_a_build_that_is_over_has_the_phases_it_told_of() -> None:
    report = Report(timings={"engine": 1.0, "cloning": 2.0, "building": 5.0, "total": 9.0})
    build = contract.after(
        contract.build("a"),
        ev.Placed(contract.PLACEMENT),
        ev.TaskSeen(1, running=True),
        ev.TaskSucceeded(1, report),
    )
    first = replace(build.attempts[0], running_at=4.0, ended_at=14.0)
    build = replace(build, attempts=(first,), ended_at=14.0)
    assert names(build, 99.0) == [
        ("waiting", 1.0),
        ("task starts", 2.0),
        ("cloning", 2.0),
        ("building", 5.0),
        ("ending", 3.0),
    ]
    found = timeline.spans(build, 99.0)
    assert sum(span.width for span in found) == pytest.approx(1000.0)
    assert found[-1].left + found[-1].width == pytest.approx(1000.0)


def test_attempts_before_the_last_are_one_span_each() -> None:
    build = contract.after(
        contract.build("a"),
        ev.Placed(contract.PLACEMENT),
        ev.TaskSeen(1, running=True),
        ev.TaskLost(1, Reason.AGENT_LOST, "gone"),
    )
    assert build.state is State.QUEUED
    assert names(build, 20.0)[-1] == ("waiting again", 18.0)
    build = contract.after(build, ev.Placed(contract.PLACEMENT))
    first, second = build.attempts
    first = replace(first, running_at=3.0, ended_at=8.0)
    build = replace(build, attempts=(first, replace(second, placed_at=10.0)))
    assert names(build, 11.0) == [
        ("waiting", 1.0),
        ("task starts", 1.0),
        ("attempt 1", 5.0),
        ("waiting again", 2.0),
        ("task starts", 1.0),
    ]


def test_buckets_hold_every_build_once() -> None:
    ended = [charts.Ended(1_700_000_000.0 + n * 977, State.SUCCEEDED, n + 1.0) for n in range(500)]
    ended.append(charts.Ended(1_700_000_000.0, State.FAILED, None))
    found = charts.buckets(ended)
    assert len(found) <= charts.MOST_BUCKETS
    assert sum(bucket.total for bucket in found) == 501
    assert sum(len(bucket.seconds) for bucket in found) == 500
    begins = [bucket.begin for bucket in found]
    assert len({b - a for a, b in itertools.pairwise(begins)}) == 1


def test_of_years_the_newest_part_is_drawn() -> None:
    ended = [charts.Ended(n * 86400.0, State.CANCELLED, None) for n in range(4000)]
    found = charts.buckets(ended)
    assert len(found) == charts.MOST_BUCKETS
    assert found[-1].begin <= 3999 * 86400 < found[-1].begin + 28 * 86400


def test_no_build_no_bar() -> None:
    assert charts.buckets([]) == ()
    assert charts.outcomes(()).marks == charts.durations(()).marks == ()


def test_bars_stand_on_each_other_and_within_the_drawing() -> None:
    states = [State.SUCCEEDED] * 3 + [State.FAILED] * 2 + [State.CANCELLED]
    found = charts.buckets(charts.Ended(100.0 + n, state, 60.0) for n, state in enumerate(states))
    good, bad, off = charts.outcomes(found).marks
    assert (good.kind, bad.kind, off.kind) == ("succeeded", "failed", "cancelled")
    assert good.y == pytest.approx(bad.y + bad.height)
    assert bad.y == pytest.approx(off.y + off.height)
    assert good.height == pytest.approx(3 * off.height)
    assert off.y >= charts.TOP
    assert good.y + good.height == pytest.approx(charts.HEIGHT - charts.BOTTOM)


def test_percentiles_are_values_that_were_there() -> None:
    values = [float(n) for n in range(1, 11)]
    assert charts.percentile(values, 0.5) == 5.0
    assert charts.percentile(values, 0.9) == 9.0
    assert charts.percentile([7.0], 0.5) == charts.percentile([7.0], 0.9) == 7.0
    assert charts.percentile([], 0.5) is None


FORM = {
    "git_url": " https://git.example.org/app.git ",
    "images": "registry.example.org/app:1\r\nregistry.example.org/app:2\r\n",
}


def test_empty_fields_say_nothing() -> None:
    document, problems = submit.body({**FORM, "context": "", "build_args": " ", "more": ""})
    assert problems == []
    assert document == {
        "source": {"git": {"url": "https://git.example.org/app.git"}},
        "images": ["registry.example.org/app:1", "registry.example.org/app:2"],
    }


def test_a_form_filled_in_with_a_build_asks_for_the_same() -> None:
    body = {
        **BODY,
        "context": "sub",
        "target": "prod",
        "build_args": {"A": "1", "B": "x=y"},
        "labels": {"team": "web"},
        "no_cache": True,
        "platforms": ["linux/amd64", "linux/arm64"],
        "priority": 3,
        "timeout": 90,
    }
    asked = schemas.parse_build(body, POLICY).to_request(POLICY)
    document, problems = submit.body(submit.filled_in(render.request(asked)))
    assert problems == []
    assert schemas.parse_build(document, POLICY).to_request(POLICY) == asked


def test_a_dockerfile_alone() -> None:
    document, _ = submit.body({"dockerfile_text": "FROM x\r\nRUN y\r\n", "images": "a/b:1"})
    assert document["source"] == {"inline": {"dockerfile": "FROM x\nRUN y\n"}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "JSON"),
        ("[1]", "must be a JSON object"),
        ('{"images": ["x"]}', "images has a field of its own above"),
    ],
)
def test_more_is_an_object_with_other_fields(text: str, problem: str) -> None:
    _, problems = submit.body({**FORM, "more": text})
    assert [item.field for item in problems] == ["more"]
    assert problem in problems[0].problem
