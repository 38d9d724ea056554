"""Search in the builds there are: words in what they say of themselves, newest first. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from api import render
from builder_framework.ports import Builds, BuildView, ListQuery

PAGE = 50
SCANNED = 1000
"""Builds that one request looks at; the next page goes on where it ended."""


@dataclass(frozen=True)
class Found:
    """`cursor`: of what was not looked at yet. `scanned`: how many builds were."""

    views: tuple[BuildView, ...]
    cursor: str | None
    scanned: int


def find(builds: Builds, query: ListQuery, words: tuple[str, ...]) -> Found:
    """Builds of `query` that hold every word, case left aside; all of them without words."""
    found: list[BuildView] = []
    scanned = 0
    cursor = query.cursor
    while True:
        page = builds.list(replace(query, limit=PAGE, cursor=cursor))
        scanned += len(page.builds)
        found += [view for view in page.builds if _holds(view, words)]
        cursor = page.next_cursor
        if cursor is None or len(found) >= PAGE or scanned >= SCANNED:
            return Found(tuple(found), cursor, scanned)


def words(text: str) -> tuple[str, ...]:
    """What is searched for."""
    return tuple(text.casefold().split())


def _holds(view: BuildView, sought: tuple[str, ...]) -> bool:
    if not sought:
        return True
    text = "\n".join(_texts(view)).casefold()
    return all(word in text for word in sought)


def _texts(view: BuildView) -> Iterator[str]:
    """What is shown of a build, masked: nobody finds out a secret by asking for it."""
    shown = render.build(view)
    yield shown["id"]
    yield shown["state"]
    yield shown["owner"]
    for name in ("project", "reason", "message", "group"):
        yield shown[name] or ""
    yield json.dumps(shown["source"], ensure_ascii=False)
    yield from shown["images"]
    yield from (f"{key}:{value}" for key, value in shown["labels"].items())
    yield shown["result"]["commit"] or ""
    yield shown["result"]["digest"] or ""
    yield from (attempt["agent"]["hostname"] for attempt in shown["attempts"])
