"""How builds ended, and how long they took, over time."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, Response, request

from api import auth
from api.web import charts, pages
from api.web.builds import FILTERS, filters
from api.web.pages import Parts
from builder_framework.domain.access import Action
from builder_framework.domain.states import TERMINAL
from builder_framework.ports import Builds, ListQuery

MOST = 1000
"""Builds that the charts are drawn from: the newest."""

_PAGE = 200

_PAGES = 20
"""Where builds of the filter are rare, pages have few, and the newest ones do for a chart."""


def add(web: Blueprint, parts: Parts) -> None:
    """`/ui/charts`."""

    @web.get("/charts")
    @auth.needs(Action.SEE)
    def history() -> Response:
        query, problems = filters(request.args)
        ended = [] if problems else _ended(parts.builds, query)
        buckets = charts.buckets(ended)
        return pages.page(
            "charts.html",
            status=400 if problems else 200,
            problems=problems,
            count=len(ended),
            most=MOST,
            outcomes=charts.outcomes(buckets),
            durations=charts.durations(buckets),
            buckets=buckets,
            filters={name: request.args.get(name, "") for name in FILTERS if name != "state"},
        )


def _ended(builds: Builds, query: ListQuery) -> list[charts.Ended]:
    query = replace(query, states=tuple(TERMINAL), limit=_PAGE, cursor=None)
    found: list[charts.Ended] = []
    for _ in range(_PAGES):
        page = builds.list(query)
        for view in page.builds:
            build = view.build
            if build.ended_at is not None:
                started = build.current.running_at if build.current else None
                seconds = None if started is None else build.ended_at - started
                found.append(charts.Ended(build.ended_at, build.state, seconds))
        if page.next_cursor is None or len(found) >= MOST:
            break
        query = replace(query, cursor=page.next_cursor)
    return found[:MOST]
