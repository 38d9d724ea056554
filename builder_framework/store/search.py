"""Pages of builds: every filter is a list of builds' numbers, and a page is what all of them have.

Whatever is asked for, a page reads a limited number of pieces of indexes and looks at a limited
number of builds; what it did not come to is left to the next one (`streams`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from builder_framework.domain import words
from builder_framework.domain.model import Build
from builder_framework.errors import FieldProblem, InvalidInputError
from builder_framework.ports import ListQuery
from builder_framework.store import queries, rows
from builder_framework.store import tables as t
from builder_framework.store.seals import Opener
from builder_framework.store.streams import BEGIN, Budget, Fetch, Stream, meet

NUMBERS = 6000
"""That one page may read, of all its lists together (`streams.Budget`)."""

LOOKED_AT = 320
"""Builds of one page that are looked at because the index alone does not tell."""

FAMILY = 128
"""Words that begin alike, as one list. Of more of them nearly every build has one: then builds are
looked at."""

_FAMILY_PIECE = 64


@dataclass(frozen=True)
class _List:
    """The builds with one of `values`: rows of `table` where `columns` are those."""

    table: str
    columns: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]


def page(
    connection: sa.Connection, query: ListQuery, opener: Opener
) -> tuple[list[Build], str | None]:
    """Up to `query.limit` builds, newest first, and the cursor of what was not looked at yet.

    There may be fewer although there are more. Raises InvalidInputError, SealError.
    """
    below = BEGIN if query.cursor is None else _decode_cursor(query.cursor)
    lists, wide = _lists(connection, query)
    if lists is None:
        return [], None
    budget = Budget(NUMBERS)
    chosen = [_stream(connection, each, budget) for each in lists]
    found: list[tuple[int, Build]] = []
    looked_at = 0
    while True:
        want = query.limit + 1 - len(found)
        numbers, following = meet(chosen, below, max(want, _FAMILY_PIECE) if wide else want)
        found += [each for each in _load(connection, numbers, opener) if _fits(each[1], query)]
        if len(found) > query.limit:
            found = found[: query.limit]
            return [build for _, build in found], encode_cursor(found[-1][0])
        looked_at += len(numbers)
        if following is None or budget.left <= 0 or looked_at >= LOOKED_AT:
            cursor = None if following is None else encode_cursor(following)
            return [build for _, build in found], cursor
        below = following


def _lists(connection: sa.Connection, query: ListQuery) -> tuple[list[_List] | None, bool]:
    """What narrows it down, and whether builds have to be looked at, too. None: there are none."""
    found = [_List("builds", (name,), values) for name, values in _of_builds(query)]
    if query.image is not None:
        found.append(_List("build_images", ("image",), ((rows.text(query.image),),)))
    if query.label is not None:
        key, value = map(rows.text, query.label)
        short = value[: rows.SHORT]
        found.append(_List("build_labels", ("key", "short"), ((key, short),)))
    wide = False
    for beginning in query.search:
        alike = _family(connection, beginning)
        if not alike:
            return None, False
        if len(alike) > FAMILY:
            wide = True
            continue
        found.append(_List("build_words", ("word",), tuple((word,) for word in alike)))
    if any(not each.values for each in found):
        return None, False
    # Of more projects than that the rest is looked at, too: `_fits`.
    narrow = [each for each in found if len(each.values) <= FAMILY]
    return narrow or [_List("builds", (), ((),))], wide or len(narrow) < len(found)


def _of_builds(query: ListQuery) -> list[tuple[str, tuple[tuple[str, ...], ...]]]:
    told = (("git_url", query.git_url), ("owner", query.owner), ("project", query.project))
    found: list[tuple[str, tuple[tuple[str, ...], ...]]] = [
        (name, ((rows.text(value),),)) for name, value in told if value is not None
    ]
    if query.states:
        found.append(("state", tuple((state.value,) for state in dict.fromkeys(query.states))))
    if query.visible is not None:
        found.append(("project", tuple((name,) for name in query.visible)))
    return found


def _fits(build: Build, query: ListQuery) -> bool:
    """What the lists left open: long labels, many projects, words that many begin like."""
    asked = build.request
    return (
        (query.label is None or _labels(build).get(query.label[0]) == rows.text(query.label[1]))
        and (query.visible is None or asked.project in query.visible)
        and (not query.search or words.fits(words.of(build), query.search))
    )


def _labels(build: Build) -> dict[str, str]:
    return {key: rows.text(value) for key, value in build.request.labels.items()}


def _family(connection: sa.Connection, beginning: str) -> Sequence[str]:
    """The words that begin so, in their order; at most one more than FAMILY.

    From each word to the next one, not through all rows of a word.
    """
    first = (
        sa.select(sa.func.min(t.words.c.word).label("word"))
        .where(t.words.c.word >= beginning)
        .cte("alike", recursive=True)
    )
    further = sa.select(sa.func.min(t.words.c.word)).where(t.words.c.word > first.c.word)
    alike = first.union_all(
        sa.select(further.scalar_subquery()).where(first.c.word < _end_of(beginning))
    )
    query = sa.select(alike.c.word).where(alike.c.word < _end_of(beginning)).limit(FAMILY + 1)
    return connection.execute(query).scalars().all()


def _end_of(beginning: str) -> str:
    """Greater than all words that begin so: no word has this character."""
    return f"{beginning}\U0010ffff"


def _stream(connection: sa.Connection, each: _List, budget: Budget) -> Stream:
    fetch = _fetch(connection, each)
    if len(each.values) == 1:
        return Stream(fetch, budget)
    return Stream(fetch, budget, len(each.values), _FAMILY_PIECE)


def _fetch(connection: sa.Connection, each: _List) -> Fetch:
    """Reads pieces of a list."""
    single = len(each.values) == 1
    parameters = {
        f"v{number}_{name}": value
        for number, values in enumerate(each.values)
        for name, value in zip(each.columns, values, strict=True)
    }
    statement = sa.text(" UNION ALL ".join(map(_part(each), range(len(each.values)))))

    def fetch(below: int, limit: int) -> tuple[Sequence[int], bool]:
        values = {**parameters, "below": below, "limit": limit}
        found = connection.execute(statement, values).all()
        if single:
            return [seq for _, seq in found], len(found) < limit
        return merged([(part, seq) for part, seq in found], limit)

    return fetch


def _part(each: _List) -> Callable[[int], str]:
    """SQL of one value's builds: the numbers are our own, values are bound."""

    def part(number: int) -> str:
        same = "".join(f"{name} = :v{number}_{name} AND " for name in each.columns)
        return (
            f"SELECT {number} AS part, seq FROM (SELECT seq FROM {each.table} "  # noqa: S608
            f"WHERE {same}seq < :below ORDER BY seq DESC LIMIT :limit) AS p{number}"
        )

    return part


def merged(found: Sequence[tuple[int, int]], limit: int) -> tuple[Sequence[int], bool]:
    """Numbers of several parts, in falling order, as far as none of a part is missing."""
    parts: dict[int, list[int]] = {}
    for part, seq in found:
        parts.setdefault(part, []).append(seq)
    known_to = max((min(some) for some in parts.values() if len(some) == limit), default=None)
    numbers = sorted({seq for _, seq in found}, reverse=True)
    if known_to is None:
        return numbers, True
    return [seq for seq in numbers if seq >= known_to], False


def _load(
    connection: sa.Connection, numbers: Sequence[int], opener: Opener
) -> list[tuple[int, Build]]:
    if not numbers:
        return []
    query = sa.select(t.builds).where(t.builds.c.seq.in_(numbers))
    return queries.load(connection, query.order_by(t.builds.c.seq.desc()), opener)


def encode_cursor(below: int) -> str:
    """The cursor of the page with builds whose number is below."""
    return base64.urlsafe_b64encode(f"seq:{below}".encode()).decode().rstrip("=")


def _decode_cursor(cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        kind, _, number = text.partition(":")
        if kind == "seq" and number.isdecimal() and len(number) < 19:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    problem = FieldProblem("cursor", "is not one of ours: use the `next` link of a page")
    raise InvalidInputError([problem])
